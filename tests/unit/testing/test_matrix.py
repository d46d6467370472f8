"""Which environments options and variables make."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing.matrix import Choices, assert_directories, matrix


def qemu_in(folder: Path) -> str:
    """A directory with a program that is called like an emulator."""
    folder.mkdir(parents=True)
    program = folder / "qemu-system-x86_64"
    program.touch(mode=0o755)
    return str(folder)


def test_nothing_chosen_is_one_environment_without_an_id() -> None:
    ((name, env),) = matrix(Choices(), {}).items()
    assert name == ""
    assert (env.imgfmt, env.imgproto) == ("raw", "file")
    assert (env.cache_mode, env.aio_mode) == ("writeback", "threads")


def test_an_id_names_only_what_differs() -> None:
    chosen = Choices(imgfmt=["qcow2", "raw"], cache_mode=["none"], aio_mode=["threads", "native"])
    found = matrix(chosen, {})
    assert list(found) == ["qcow2-threads", "qcow2-native", "raw-threads", "raw-native"]
    assert {env.cache_mode for env in found.values()} == {"none"}


def test_what_is_chosen_twice_is_there_once() -> None:
    assert list(matrix(Choices(imgfmt=["raw", "raw"]), {})) == [""]


def test_variables_of_qemus_check_are_the_default() -> None:
    variables = {
        "IMGFMT": "qcow2",
        "IMGPROTO": "nbd",
        "CACHEMODE": "none",
        "AIOMODE": "native",
        "QEMU_DEFAULT_MACHINE": "q35",
        "IMGKEYSECRET": "key\udcff",
        "QEMU_IMG_PROG": "/opt/qemu-img",
    }
    (env,) = matrix(Choices(), variables).values()
    assert (env.imgfmt, env.imgproto) == ("qcow2", "nbd")
    assert (env.cache_mode, env.aio_mode) == ("none", "native")
    assert (env.default_machine, env.key_secret) == ("q35", Secret(b"key\xff"))
    assert env.programs.qemu_img == ("/opt/qemu-img",)
    (chosen,) = matrix(Choices(imgfmt=["raw"]), variables).values()
    assert chosen.imgfmt == "raw"


def test_qemus_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    places = [qemu_in(tmp_path / name / "bin") for name in ("qemu-7.2", "qemu-10.0")]
    found = matrix(Choices(qemu=places), {})
    assert list(found) == ["qemu-7.2", "qemu-10.0"]
    assert [env.programs.qemu for env in found.values()] == [
        (f"{place}/qemu-system-x86_64",) for place in places
    ]


def test_one_of_two_places_may_be_in_the_other(tmp_path: Path) -> None:
    places = [qemu_in(tmp_path / "q"), qemu_in(tmp_path / "q" / "build")]
    assert list(matrix(Choices(qemu=places), {})) == ["0", "build"]


def test_an_emulator_brings_the_tools_beside_it(tmp_path: Path) -> None:
    place = qemu_in(tmp_path / "bin")
    (env,) = matrix(Choices(qemu=[f"{place}/qemu-system-x86_64"]), {}).values()
    assert env.programs.qemu_img == (f"{place}/qemu-img",)


def test_native_aio_is_left_out_where_requests_go_through_the_cache() -> None:
    chosen = Choices(cache_mode=["writeback", "directsync"], aio_mode=["threads", "native"])
    assert list(matrix(chosen, {})) == [
        *("writeback-threads", "directsync-threads", "directsync-native"),
    ]


@pytest.mark.parametrize(
    ("choices", "variables", "sentence"),
    [
        (Choices(imgfmt=["qcow3"]), {}, "image format: 'qcow3' is none of bochs, "),
        (Choices(imgfmt=[""]), {}, "image format: '' is none of"),
        (Choices(imgproto=["tcp"]), {}, "protocol: 'tcp' is none of"),
        (Choices(cache_mode=["off"]), {}, "cache mode: 'off' is none of none, "),
        (Choices(), {"AIOMODE": "aio"}, "aio mode: 'aio' is none of threads, "),
        (Choices(aio_mode=["native"]), {}, "aio mode native needs cache mode none or directsync"),
        (Choices(qemu=["/nowhere"]), {}, "--blocksdk-qemu: there is no program /nowhere"),
        (Choices(qemu=["/proc/self"]), {}, "--blocksdk-qemu: there is no QEMU in /proc/self"),
        (Choices(qemu=["x" * 300]), {}, "--blocksdk-qemu: .*File name too long"),
        (Choices(), {"IMGKEYSECRET": "\ud800"}, "IMGKEYSECRET is not text"),
        (Choices(qemu=["/usr"]), {"QSD_PROG": "qsd"}, "--blocksdk-qemu contradicts QSD_PROG"),
    ],
)
def test_what_cannot_be_is_refused(
    choices: Choices, variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UsageError, match=f"^{sentence}"):
        matrix(choices, variables)


def test_a_directory_that_is_not_there_yet_will_do(tmp_path: Path) -> None:
    assert_directories(tmp_path / "not yet there")


def test_a_directory_needs_room(monkeypatch: pytest.MonkeyPatch) -> None:
    # A file system that never has any.
    with pytest.raises(UsageError, match=r"/proc has room for 0.0 MiB, and tests need 16 MiB"):
        assert_directories(Path("/proc"))
