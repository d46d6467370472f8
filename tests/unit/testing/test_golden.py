"""Golden files: what is compared, what is written, and where never."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing import Golden
from qemu_blocksdk.testing.golden import safe_name
from qemu_blocksdk.testing.switches import UPDATE_GOLDEN as UPDATE
from tests.live.helpers import ROOT

HOW = "UPDATE_GOLDEN=1, or pytest --blocksdk-update-golden,"


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


def golden(folder: Path, *, update: bool = False, test: str = "test_a") -> Golden:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(UPDATE, "1" if update else "")
        return Golden(folder / "test_m.py", test=test)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def message_of(folder: Path, text: str, *, fmt: str | None = None) -> str:
    with pytest.raises(AssertionError) as caught:
        golden(folder).check(text, fmt=fmt)
    return str(caught.value)


# -- comparing ------------------------------------------------------------------------------


def test_the_same_text_passes_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "test_m.test_a.out").write_bytes("ü\r\n\0".encode())
    before = (tmp_path / "test_m.test_a.out").stat()
    golden(tmp_path).check("ü\r\n\0")
    assert (tmp_path / "test_m.test_a.out").stat().st_mtime_ns == before.st_mtime_ns


def test_another_text_fails_with_a_unified_diff(tmp_path: Path) -> None:
    path = tmp_path / "test_m.test_a.out"
    path.write_text("".join(f"line {n}\n" for n in range(1, 21)))
    found = path.read_text().replace("line 10\n", "line ten\nmore\n")
    assert message_of(tmp_path, found) == (
        f"differs from {path} ({HOW} writes it anew):\n"
        "first at line 10, column 6\n"
        "--- golden\n+++ found\n@@ -7,7 +7,8 @@\n line 7\n line 8\n line 9\n"
        "-line 10\n+line ten\n+more\n line 11\n line 12\n line 13"
    )
    assert path.read_text() != found


def test_a_missing_file_fails_and_says_what_makes_it(tmp_path: Path) -> None:
    message = message_of(tmp_path, "a")
    assert message == f"no golden file {tmp_path}/test_m.test_a.out: {HOW} makes it"
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("golden_text", "found", "shown"),
    [
        ("a\n", "a", "-a\n+a\n\\ No newline at end of file"),
        ("a\n", "a\r\n", "-a\n+a\\r"),
        ("a\x0cb\n", "a\x0cc\n", "-a\\x0cb\n+a\\x0cc"),
        ("a\u2028\n", "a\n", "-a\\u2028\n+a"),
        ("\x1b[31m\n", "\n", "-\\x1b[31m\n+"),
        ("", "a\n", "+a"),
        ("a\n", "", "-a"),
    ],
)
def test_what_cannot_be_seen_is_shown(
    golden_text: str, found: str, shown: str, tmp_path: Path
) -> None:
    (tmp_path / "test_m.test_a.out").write_bytes(golden_text.encode())
    assert message_of(tmp_path, found).endswith("@@\n" + shown)


def test_a_golden_file_that_is_not_utf8_differs(tmp_path: Path) -> None:
    (tmp_path / "test_m.test_a.out").write_bytes(b"a\xff\n")
    assert message_of(tmp_path, "a\n").endswith("-a\\xff\n+a")
    golden(tmp_path, update=True).check("a\n")
    assert files(tmp_path) == {"test_m.test_a.out": "a\n"}


# -- bounds ---------------------------------------------------------------------------------


def test_a_difference_late_in_a_line_of_ten_megabytes_is_seen(tmp_path: Path) -> None:
    (tmp_path / "test_m.test_a.out").write_text("x" * 9_000_000 + "old" + "x" * 1_000_000)
    message = message_of(tmp_path, "x" * 9_000_000 + "new" + "x" * 1_000_000)
    assert "line 1, column 9000001" in message
    assert "xold" in message
    assert "xnew" in message
    assert len(message) < 2000


def test_the_difference_of_long_texts_is_bounded_and_where_it_is(tmp_path: Path) -> None:
    same = [f"{n % 7}\n" for n in range(100_000)]
    (tmp_path / "test_m.test_a.out").write_text("".join(same))
    same[70_000:70_000] = ["new\n"]
    message = message_of(tmp_path, "".join(same))
    assert "@@ -69998,6 +69998,7 @@" in message
    assert [line for line in message.splitlines() if line.startswith(("-", "+"))] == [
        *("--- golden", "+++ found", "+new")
    ]


def test_texts_that_have_nothing_in_common_fail_in_few_lines(tmp_path: Path) -> None:
    (tmp_path / "test_m.test_a.out").write_text("a b c\n" * 100_000)
    message = message_of(tmp_path, "".join(f"{n}\n" for n in range(100_000)))
    assert message.endswith("(the difference goes on)")
    assert len(message.splitlines()) < 150


# -- which file -----------------------------------------------------------------------------


def test_the_file_of_the_format_comes_before_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "test_m.test_a.out").write_text("common")
    (tmp_path / "test_m.test_a.qcow2.out").write_text("own")
    golden(tmp_path).check("own", fmt="qcow2")
    golden(tmp_path).check("common", fmt="raw")
    golden(tmp_path).check("common")
    assert "test_m.test_a.qcow2.out" in message_of(tmp_path, "common", fmt="qcow2")


def test_an_update_writes_the_file_that_is_compared_with(tmp_path: Path) -> None:
    golden(tmp_path, update=True).check("1", fmt="qcow2")
    assert files(tmp_path) == {"test_m.test_a.out": "1"}
    (tmp_path / "test_m.test_a.qcow2.out").touch()
    golden(tmp_path, update=True).check("2", fmt="qcow2")
    assert files(tmp_path) == {"test_m.test_a.out": "1", "test_m.test_a.qcow2.out": "2"}


def test_several_texts_of_one_test_have_names(tmp_path: Path) -> None:
    updating = golden(tmp_path, update=True)
    updating.check("1")
    updating.check("2", name="after")
    with pytest.raises(UsageError, match="checked twice"):
        updating.check("3", name="after")
    assert files(tmp_path) == {"test_m.test_a.out": "1", "test_m.test_a+after.out": "2"}
    golden(tmp_path).check("2", name="after")


@pytest.mark.parametrize("suffix", ["", "../x", "a/b", "a.b", "a b", "x" * 51, "\0", "ü"])
def test_a_suffix_is_no_path(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be part of a file's name"):
        golden(tmp_path, update=True).check("a", fmt=suffix)
    with pytest.raises(UsageError, match="cannot be part of a file's name"):
        golden(tmp_path, update=True).check("a", name=suffix)
    assert files(tmp_path) == {}


ODD = [
    *("test_a", "test_a[b]", "test_a[a-b]", "test_a[a/b]", "test_a[a b]", "test_a[../../b]"),
    *("test_a[]", "test_a[a.b]", "T.test_a", "T.test_a[b]", "T.U.test_a", "test_a[b]]", "test_ä"),
    *(
        "test_a[[b]",
        "test_a[\0]",
        "test_a[\ud800]",
        "test_a[" + "x" * 300,
        "test_a[\n]",
        "test_a-b]",
    ),
    *("test_a[b+c]", "test_a[b~c]", "test_a[" + "x" * 301, "test_A", "f.<locals>.T.test_a"),
]


def test_names_are_safe_and_no_two_tests_share_one(tmp_path: Path) -> None:
    names = {safe_name("test_m", test) for test in ODD}
    assert len(names) == len(set(ODD))
    for name in names:
        assert name == os.path.basename(name)  # noqa: PTH119 - of a text
        (tmp_path / f"{name}+{'n' * 50}.{'f' * 50}.out").touch(exist_ok=False)
    assert safe_name("test_m", "T.test_a[b-1]") == "test_m.T.test_a-b-1"
    assert safe_name("a.b", "c") != safe_name("a", "b.c")


def test_a_test_with_an_odd_name_has_its_file_beside_it(tmp_path: Path) -> None:
    golden(tmp_path, update=True, test="test_a[../../b]").check("a")
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("test_m.test_a_.._.._b_~")
    golden(tmp_path, test="test_a[../../b]").check("a")


# -- writing --------------------------------------------------------------------------------


def test_what_is_the_same_is_not_written_again(tmp_path: Path) -> None:
    golden(tmp_path, update=True).check("a")
    before = (tmp_path / "test_m.test_a.out").stat()
    golden(tmp_path, update=True).check("a")
    after = (tmp_path / "test_m.test_a.out").stat()
    # To be read may change its time of access.
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("ci", ["true", "1", "TRUE", "woodpecker"])
@pytest.mark.parametrize("text", ["old", "new"])
def test_nothing_is_updated_in_ci(
    ci: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_m.test_a.out").write_text("old")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(UsageError, match="not updated where CI is set: unset UPDATE_GOLDEN"):
        golden(tmp_path, update=True).check(text)
    assert files(tmp_path) == {"test_m.test_a.out": "old"}
    golden(tmp_path).check("old")


@pytest.mark.parametrize("ci", ["", "0", "false", "False"])
def test_ci_may_be_set_to_no(ci: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    golden(tmp_path, update=True).check("a")
    assert files(tmp_path) == {"test_m.test_a.out": "a"}


def test_a_write_that_fails_leaves_the_old_file_whole_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_m.test_a.out").write_text("old")

    def cut_short(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", cut_short)
    with pytest.raises(UsageError, match=r"cannot write the golden file .*No space left"):
        golden(tmp_path, update=True).check("new")
    assert files(tmp_path) == {"test_m.test_a.out": "old"}


def test_a_link_is_read_but_never_written_through(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "tests", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_text("old")
    (folder / "test_m.test_a.out").symlink_to(elsewhere)
    golden(folder).check("old")
    with pytest.raises(UsageError, match="is a link"):
        golden(folder, update=True).check("new")
    assert elsewhere.read_text() == "old"


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        golden(tmp_path / "gone", update=True).check("a")


def test_a_directory_in_the_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_m.test_a.out").mkdir()
    for update in (False, True):
        with pytest.raises(UsageError, match="cannot read the golden file"):
            golden(tmp_path, update=update).check("a")


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize(
    ("text", "what"),
    [("ab\ud800", r"character 2 is '\\ud800'"), (b"ab", "text, not bytes"), (None, "not NoneType")],
)
def test_what_is_no_text_is_an_error(text: str, what: str, update: bool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=what):
        golden(tmp_path, update=update).check(text)
    assert files(tmp_path) == {}


def test_the_plugin_is_announced_under_the_name_of_its_module() -> None:
    # `-p` by that name, and the entry point, load it once.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module = "qemu_blocksdk.testing.pytest_plugin"
    assert project["entry-points"]["pytest11"] == {module: module}
