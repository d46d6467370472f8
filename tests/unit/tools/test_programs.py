"""Where the programs are: by default, by the environment, by a directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qemu_blocksdk.errors import LaunchError, UsageError
from qemu_blocksdk.tools import Programs


def executable(path: Path) -> Path:
    """A program at a path, which is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_what_is_not_set_is_looked_for_in_path() -> None:
    assert Programs.from_environ({}) == Programs()
    assert Programs.from_environ({"QEMU_IMG_PROG": "", "QEMU_OPTIONS": ""}) == Programs()


def test_each_variable_names_its_program_with_its_options() -> None:
    found = Programs.from_environ(
        {
            "QEMU_PROG": "/opt/qemu",
            "QEMU_OPTIONS": " -nodefaults  -accel qtest ",
            "QEMU_IMG_PROG": "/opt/img",
            "QEMU_IMG_OPTIONS": "-T file=trace",
            "QEMU_IO_PROG": "/opt/io",
            "QEMU_IO_OPTIONS_NO_FMT": "--cache none",
            "QEMU_NBD_PROG": "/opt/nbd",
            "QEMU_NBD_OPTIONS": "-v",
            "QSD_PROG": "/opt/qsd",
            "QSD_OPTIONS": "--trace x",
        }
    )
    assert found == Programs(
        qemu=("/opt/qemu", "-nodefaults", "-accel", "qtest"),
        qemu_img=("/opt/img", "-T", "file=trace"),
        qemu_io=("/opt/io", "--cache", "none"),
        qemu_nbd=("/opt/nbd", "-v"),
        storage_daemon=("/opt/qsd", "--trace", "x"),
    )


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({"QEMU_IO_OPTIONS": "--cache none -f qcow2 --aio threads"}, "--cache none --aio threads"),
        ({"QEMU_IO_OPTIONS": "--format raw --misalign"}, "--misalign"),
        ({"QEMU_IO_OPTIONS": "--format=raw -n"}, "-n"),
        ({"QEMU_IO_OPTIONS": "-n -f"}, "-n"),
        ({"QEMU_IO_OPTIONS": "-n", "QEMU_IO_OPTIONS_NO_FMT": ""}, ""),
        ({"QEMU_IO_OPTIONS": "-f raw", "QEMU_IO_OPTIONS_NO_FMT": "-n --image-opts"}, "-n"),
    ],
)
def test_what_describes_images_is_dropped_from_the_options_of_qemu_io(
    variables: dict[str, str], options: str
) -> None:
    assert Programs.from_environ(variables).qemu_io == ("qemu-io", *options.split())


def test_a_relative_path_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = executable(tmp_path / "build" / "img")
    monkeypatch.chdir(tmp_path)
    found = Programs.from_environ({"QEMU_IMG_PROG": "build/img"})
    monkeypatch.chdir("/")
    assert found.find()["qemu_img"] == program


def test_a_relative_path_with_a_slash_is_found_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = executable(tmp_path / "build" / "img")
    monkeypatch.chdir(tmp_path)
    for word in ("build/img", "./build/img"):
        assert Programs(qemu_img=(word,)).find()["qemu_img"] == program


def test_a_name_is_found_in_path_as_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = executable(tmp_path / "bin" / "qemu-img")
    monkeypatch.setenv("PATH", "bin")
    monkeypatch.chdir(tmp_path)
    assert Programs().find() == {"qemu_img": program}


def test_the_programs_of_a_directory_are_those_that_lie_in_it(tmp_path: Path) -> None:
    names = {
        "qemu_img": "qemu-img",
        "qemu_io": "qemu-io",
        "qemu_nbd": "qemu-nbd",
        "storage_daemon": "qemu-storage-daemon",
    }
    paths = {field: executable(tmp_path / name) for field, name in names.items()}
    paths["qemu"] = executable(tmp_path / Programs().qemu[0])
    executable(tmp_path / "qemu-system-aaa")
    assert Programs.in_directory(tmp_path).find() == paths


def test_a_directory_that_qemu_was_built_in_is_understood(tmp_path: Path) -> None:
    daemon = executable(tmp_path / "storage-daemon" / "qemu-storage-daemon")
    emulator = executable(tmp_path / "qemu-system-other")
    found = Programs.in_directory(tmp_path)
    assert found.find() == {"qemu": emulator, "storage_daemon": daemon}
    assert found.qemu_img == (str(tmp_path / "qemu-img"),)


def test_all_missing_programs_are_named_at_once_and_why(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    programs = Programs(
        qemu=("qemu-of-nowhere", "-x"),
        qemu_img=(str(tmp_path),),
        qemu_io=(str(tmp_path / "text"),),
        qemu_nbd=(str(executable(tmp_path / "nbd")),),
        storage_daemon=(str(tmp_path / "text" / "below"),),
    )
    with pytest.raises(LaunchError) as caught:
        programs.require("qemu_nbd", "qemu", "qemu_img", "qemu_io", "storage_daemon")
    assert str(caught.value) == (
        f"no program 'qemu-of-nowhere'; no program '{tmp_path}': it is a directory;"
        f" no program '{tmp_path / 'text'}': it is not executable;"
        f" no program '{tmp_path / 'text' / 'below'}'"
    )
    assert caught.value.argv == ("qemu-of-nowhere", "-x")
    assert set(programs.find()) == {"qemu_nbd"}


def test_nothing_is_wrong_where_all_that_is_required_is_there(tmp_path: Path) -> None:
    program = executable(tmp_path / "img")
    Programs(qemu=("qemu-of-nowhere",), qemu_img=(str(program),)).require("qemu_img")


def test_a_program_of_no_words_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="qemu_io has no words"):
        Programs(qemu_io=()).words("qemu_io")


def test_without_an_argument_the_environment_is_that_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith(("QEMU_", "QSD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QSD_PROG", "my-daemon")
    assert Programs.from_environ() == Programs(storage_daemon=("my-daemon",))
