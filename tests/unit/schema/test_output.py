"""The generated directory, and what `check` says about it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.schema import output
from qemu_blocksdk.schema.__main__ import main
from qemu_blocksdk.schema.layout import HEADER

FILES = {"__init__.py": "a = 1\n", "job.py": "b = 2\n"}


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return output.generate()


def test_writing_makes_the_directory_hold_exactly_the_files(tmp_path: Path) -> None:
    wire = tmp_path / "wire"
    assert output.write(FILES, wire) == ["__init__.py", "job.py"]
    assert output.write(FILES, wire) == []
    (wire / "old.py").write_text(HEADER)
    (wire / "job.py").write_text("b = 3\n")
    assert output.write(FILES, wire) == ["job.py", "old.py"]
    assert {path.name: path.read_text() for path in wire.iterdir()} == FILES


def test_a_file_that_nobody_generated_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of it")
    with pytest.raises(UsageError, match=r"nothing here generated: thesis\.txt"):
        output.write(FILES, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_every_difference_is_named(tmp_path: Path) -> None:
    output.write(FILES, tmp_path)
    assert list(output.differences(FILES, tmp_path)) == []
    (tmp_path / "__init__.py").unlink()
    (tmp_path / "job.py").write_text("b = 2\n\n")
    (tmp_path / "stray.py").write_text("")
    (tmp_path / "__pycache__").mkdir()
    found = dict(output.differences(FILES, tmp_path))
    assert found.keys() == {"__init__.py", "job.py", "stray.py"}
    assert found["__init__.py"] == "missing"
    assert "orphan" in found["stray.py"]


def test_a_directory_that_is_not_there_lacks_every_file(tmp_path: Path) -> None:
    assert [name for name, _ in output.differences(FILES, tmp_path / "wire")] == list(FILES)


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wire").write_text("")
    with pytest.raises(UsageError, match="wire"):
        output.write(FILES, tmp_path / "wire")


@pytest.mark.parametrize("name", ["job.py", "extra"])
def test_a_directory_in_the_way_is_told_and_left_alone(tmp_path: Path, name: str) -> None:
    work = tmp_path / name / "work.txt"
    work.parent.mkdir()
    work.write_text("a day of it")
    assert "directory" in dict(output.differences(FILES, tmp_path))[name]
    with pytest.raises(UsageError, match=f"nothing here generated: {name}"):
        output.write(FILES, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert work.read_text() == "a day of it"


def test_a_link_to_nowhere_differs_and_is_replaced(tmp_path: Path) -> None:
    output.write(FILES, tmp_path)
    (tmp_path / "job.py").unlink()
    (tmp_path / "job.py").symlink_to("nowhere")
    assert "cannot be read" in dict(output.differences(FILES, tmp_path))["job.py"]
    assert output.write(FILES, tmp_path) == ["job.py"]
    assert (tmp_path / "job.py").read_text() == FILES["job.py"]


def test_the_committed_wire_is_what_is_generated(generated: dict[str, str]) -> None:
    assert list(output.differences(generated, output.WIRE)) == []


def test_check_fails_for_any_byte_and_generate_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], generated: dict[str, str]
) -> None:
    wire = tmp_path / "wire"
    output.write(generated, wire)
    assert main(["check", "--out", str(wire)]) == 0
    path = wire / "job.py"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    assert main(["check", "--out", str(wire)]) == 1
    assert str(path) in capsys.readouterr().err
    assert main(["generate", "--out", str(wire)]) == 0
    assert main(["check", "--out", str(wire)]) == 0


def test_no_type_wants_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["names"]) == 0
    assert capsys.readouterr().out == ""


def test_generation_is_the_same_in_another_process(generated: dict[str, str]) -> None:
    code = "from qemu_blocksdk.schema import output; import hashlib, json; " + (
        "print(hashlib.sha256(json.dumps(output.generate()).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert generated.keys() >= {"__init__.py", "_availability.py", "job.py"}


def test_ruff_finds_nothing_to_do_in_what_is_generated() -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    wire = str(output.WIRE)
    width = ["--isolated", "--line-length", "100"]
    subprocess.run([ruff, "format", "--check", *width, wire], check=True)
    subprocess.run([ruff, "check", "--no-cache", wire], check=True, cwd=output.WIRE.parents[1])
