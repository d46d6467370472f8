"""What a test runs with: from the environment, by itself, and back into an environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_type_hints

import pytest

from qemu_blocksdk.codec import Secret, evolve
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing.env import AIO_MODES, CACHE_MODES, IMGFMTS, EnvMembers, TestEnv
from qemu_blocksdk.tools import Programs


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """What has to be set at least, with directories that there are."""
    for name in ("images", "sockets"):
        (tmp_path / name).mkdir()
    return {
        "TEST_DIR": str(tmp_path / "images"),
        "SOCK_DIR": str(tmp_path / "sockets"),
        "CACHEMODE": "none",
        "AIOMODE": "native",
        "QEMU_DEFAULT_MACHINE": "pc",
    }


def test_all_that_is_missing_is_named_at_once() -> None:
    everything = "TEST_DIR, SOCK_DIR, CACHEMODE, AIOMODE, QEMU_DEFAULT_MACHINE"
    with pytest.raises(UsageError, match=f"^not in the environment: {everything}$"):
        TestEnv.from_environ({"IMGFMT": "qcow2", "TEST_DIR": ""})


def test_what_is_not_set_is_as_check_has_it(variables: dict[str, str]) -> None:
    env = TestEnv.from_environ(variables)
    assert env == TestEnv(
        test_dir=Path(variables["TEST_DIR"]),
        sock_dir=Path(variables["SOCK_DIR"]),
        cache_mode="none",
        aio_mode="native",
        default_machine="pc",
        key_secret=Secret(""),
        qemu_io_options=[],
    )
    assert (env.imgfmt, env.imgproto, env.imgfmt_generic) == ("raw", "file", True)


def test_each_variable_has_its_member(variables: dict[str, str], tmp_path: Path) -> None:
    env = TestEnv.from_environ(
        {
            **variables,
            "OUTPUT_DIR": str(tmp_path / "out"),
            "SAMPLE_IMG_DIR": str(tmp_path / "samples"),
            "IMGFMT": "qcow2",
            "IMGFMT_GENERIC": "false",
            "IMGPROTO": "nbd",
            "IMGKEYSECRET": "hunter2",
            "QEMU_IMG_PROG": "/opt/qemu-img",
            "QEMU_IO_OPTIONS": " --cache none  -f qcow2 ",
        }
    )
    assert env.output_dir == tmp_path / "out"
    assert env.sample_img_dir == tmp_path / "samples"
    assert (env.imgfmt, env.imgfmt_generic, env.imgproto) == ("qcow2", False, "nbd")
    assert env.key_secret == Secret("hunter2")
    assert env.programs.qemu_img == ("/opt/qemu-img",)
    assert env.qemu_io_options == ["--cache", "none", "-f", "qcow2"]


def test_the_environment_of_the_process_is_the_default(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IMGFMT", "vdi")
    assert TestEnv.from_environ().imgfmt == "vdi"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("CACHEMODE", "back", "^CACHEMODE: 'back' is none of none, writeback, "),
        (
            "AIOMODE",
            "uring",
            "^AIOMODE: 'uring' is none of threads, native, io_uring; did you mean 'io_uring'",
        ),
        ("IMGFMT", "qcow3", "^IMGFMT: 'qcow3' is none of bochs, "),
        ("IMGPROTO", "gopher", "^IMGPROTO: 'gopher' is none of file, "),
        ("TEST_DIR", "/dev/null", "^TEST_DIR: /dev/null is no directory$"),
        ("SOCK_DIR", "/" + "x" * 300, "^SOCK_DIR: .*File name too long"),
        ("TEST_DIR", "a\0b", "^TEST_DIR has a NUL character$"),
        ("IMGKEYSECRET", "\ud800", "^IMGKEYSECRET is not text that a variable can hold$"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    variables: dict[str, str], name: str, value: str, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint) as raised:
        TestEnv.from_environ({**variables, name: value})
    assert "\n" not in str(raised.value)


def test_a_directory_that_cannot_be_written_is_refused(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def readable(path: Path, mode: int) -> bool:
        return path.exists() and mode == os.R_OK

    monkeypatch.setattr(os, "access", readable)  # root may do everything
    with pytest.raises(UsageError, match=r"^TEST_DIR: .*/images cannot be written$"):
        TestEnv.from_environ(variables)


@pytest.mark.parametrize("secret", [b"123456", b"", b"p\xc3\xa4ss", b"\xff\xfe"])
def test_variables_say_all_of_it(variables: dict[str, str], secret: bytes) -> None:
    env = evolve(
        TestEnv.from_environ(variables),
        programs=Programs(qemu=("/opt/q", "-nodefaults"), qemu_io=("qemu-io", "-n")),
        imgfmt="luks",
        imgfmt_generic=False,
        default_machine=None,
        key_secret=Secret(secret),
        qemu_io_options=["--cache", "none"],
    )
    assert TestEnv.from_environ(env.variables()) == env


def test_variables_reach_another_process_as_they_are(variables: dict[str, str]) -> None:
    env = TestEnv.from_environ(variables).evolve(key_secret=Secret(b"\xff"))
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.environb[b'IMGKEYSECRET'])"],
        env=env.variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "b'\\xff'\n"


def test_qemu_io_without_options_of_its_own_is_told_the_format(variables: dict[str, str]) -> None:
    env = TestEnv.from_environ(variables).evolve(imgfmt="qcow2", qemu_io_options=None)
    assert env.variables()["QEMU_IO_OPTIONS"] == "-f qcow2"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"programs": Programs(qemu=("q", "a b"))}, "^QEMU_OPTIONS cannot hold 'a b'$"),
        ({"programs": Programs(qemu_nbd=("q", ""))}, "^QEMU_NBD_OPTIONS cannot hold ''$"),
        ({"programs": Programs(qemu=())}, "^Programs: qemu has no words"),
        ({"qemu_io_options": ["-f raw"]}, "^QEMU_IO_OPTIONS cannot hold '-f raw'$"),
        ({"key_secret": Secret(b"a\0b")}, "^IMGKEYSECRET cannot be set: it has a NUL character$"),
    ],
)
def test_what_no_variable_can_hold_is_refused(
    variables: dict[str, str], change: dict[str, object], complaint: str
) -> None:
    env = evolve(TestEnv.from_environ(variables), **change)
    with pytest.raises(UsageError, match=complaint):
        env.variables()


def test_a_temporary_one_has_directories_until_its_end() -> None:
    with TestEnv.temporary(imgfmt="vmdk", cache_mode="none") as env:
        assert (env.imgfmt, env.cache_mode, env.aio_mode) == ("vmdk", "none", "threads")
        (env.test_dir / "folder").mkdir()
        (env.sock_dir / "file").touch()
        assert env.test_dir != env.sock_dir
        assert TestEnv.from_environ(env.variables()).test_dir == env.test_dir
    assert not env.test_dir.exists()
    assert not env.sock_dir.exists()


def test_the_directory_of_sockets_is_short_whatever_tmpdir_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 200)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with TestEnv.temporary() as env:
        assert env.test_dir.parent == long
        assert len(os.fsencode(env.sock_dir)) < 40
    assert not env.sock_dir.exists()
    assert list(long.iterdir()) == []


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"imgfmt": "qcow3"}, "imgfmt: 'qcow3' is none of "),
        ({"imgproto": ""}, "imgproto: '' is none of "),
        ({"cache_mode": "fast"}, "cache_mode: 'fast' is none of "),
        ({"aio_mode": "fast"}, "aio_mode: 'fast' is none of "),
    ],
)
def test_a_temporary_one_is_of_a_format_and_modes_that_there_are(
    members: EnvMembers, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint), TestEnv.temporary(**members):
        pytest.fail("it began")


def test_a_directory_without_a_place_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
    with pytest.raises(OSError, match="/dev/null"), TestEnv.temporary():
        pytest.fail("it began")


def test_a_temporary_one_takes_every_member_but_the_directories() -> None:
    own = get_type_hints(EnvMembers)
    directories = {"test_dir", "sock_dir", "output_dir"}
    hints = {name: hint for name, hint in get_type_hints(TestEnv).items() if name[0] != "_"}
    assert own == {name: hint for name, hint in hints.items() if name not in directories}


def test_the_modes_are_those_of_the_types() -> None:
    assert CACHE_MODES == ("none", "writeback", "writethrough", "directsync", "unsafe")
    assert AIO_MODES == ("threads", "native", "io_uring")
    assert {"qcow2", "raw", "luks", "vdi", "vmdk", "vhdx", "parallels"} <= set(IMGFMTS)


def test_filters_get_its_directories_and_the_process() -> None:
    with TestEnv.temporary(imgfmt="qcow2") as env:
        own = env.for_filters()
        assert (own.test_dir, own.sock_dir, own.format) == (env.test_dir, env.sock_dir, "qcow2")
        assert own.pid == os.getpid()
        assert env.for_filters(pid=7).pid == 7


def test_its_secret_does_not_show() -> None:
    with TestEnv.temporary(key_secret=Secret("hunter2")) as env:
        assert "hunter2" not in repr(env)
