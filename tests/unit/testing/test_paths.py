"""Paths of a test: one for each name and process, gone afterwards whatever happens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import qemu_blocksdk
from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.testing import scratch
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.testing.paths import FilePath, file_path, file_pattern

ROOT = Path(qemu_blocksdk.__file__).parent.parent


@pytest.fixture
def env(tmp_path: Path) -> Iterator[TestEnv]:
    """An environment of this test."""
    with TestEnv.temporary() as made:
        yield made


def with_deep_sockets(env: TestEnv, tmp_path: Path) -> TestEnv:
    """The same with a directory for sockets in which no socket can be."""
    deep = tmp_path / ("d" * 200)
    deep.mkdir()
    return env.evolve(sock_dir=deep)


def children() -> set[int]:
    """The process ids of our children."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(map(int, path.read_text().split()))


def test_one_name_makes_one_path_and_several_a_tuple(env: TestEnv) -> None:
    with FilePath("a.img", env=env) as one:
        assert one == env.test_dir / f"{os.getpid()}-a.img"
    with FilePath("a", "b", "c", env=env) as paths:
        assert paths == tuple(env.test_dir / f"{os.getpid()}-{name}" for name in "abc")


def test_the_files_are_gone_after_the_block_in_reverse_order(
    env: TestEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []
    remove = scratch.remove

    def noted(path: Path) -> None:
        removed.append(path)
        remove(path)

    monkeypatch.setattr(scratch, "remove", noted)
    with FilePath("file", "folder", "never-made", env=env) as (file, folder, never):
        file.touch()
        (folder / "below").mkdir(parents=True)
    assert removed == [never, folder, file]
    assert list(env.test_dir.iterdir()) == []


def test_the_files_are_gone_after_an_error(env: TestEnv) -> None:
    def fail(path: Path) -> None:
        path.touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), FilePath("file", env=env) as path:
        fail(path)
    assert list(env.test_dir.iterdir()) == []


def test_a_link_goes_and_not_what_it_points_to(env: TestEnv, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with FilePath("link", env=env) as path:
        path.symlink_to(tmp_path / "kept")
    assert not path.is_symlink()
    assert (tmp_path / "kept").exists()


def test_one_object_serves_for_several_blocks(env: TestEnv) -> None:
    files = FilePath("file", env=env)
    for _ in range(2):
        with files as path:
            path.touch()
        assert not path.exists()


def test_another_directory_is_taken_as_it_is(env: TestEnv, tmp_path: Path) -> None:
    with FilePath("x" * 200, env=env, base_dir=tmp_path) as path:
        assert path == tmp_path / f"{os.getpid()}-{'x' * 200}"


def test_a_socket_fits_whatever_its_directory(env: TestEnv, tmp_path: Path) -> None:
    deep = with_deep_sockets(env, tmp_path)
    with (
        FilePath("nbd.sock", env=deep, base_dir=deep.sock_dir) as path,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        listener.bind(str(path))
        assert path.name == f"{os.getpid()}-nbd.sock"
    assert not path.parent.exists()


def test_the_longest_socket_that_fits_stays_in_its_directory(env: TestEnv) -> None:
    deeper = env.evolve(sock_dir=env.sock_dir / ("d" * 20))
    deeper.sock_dir.mkdir()
    own = len(f"{deeper.sock_dir}/{os.getpid()}-")
    for length, stays in ((scratch.SUN_PATH - own, True), (scratch.SUN_PATH - own + 1, False)):
        with FilePath("s" * length, env=deeper, base_dir=deeper.sock_dir) as path:
            assert (path.parent == deeper.sock_dir) is stays
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))


def test_a_name_that_no_socket_can_have_is_refused_and_nothing_stays(env: TestEnv) -> None:
    before = children()
    with (
        pytest.raises(UsageError, match=r"too long for the name of a socket$"),
        FilePath("a", "s" * 120, env=env, base_dir=env.sock_dir),
    ):
        pytest.fail("it began")
    assert list(env.sock_dir.iterdir()) == []
    assert children() == before


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 256])
def test_what_cannot_be_a_name_is_refused(name: str, env: TestEnv) -> None:
    with pytest.raises(UsageError):
        file_pattern(name)
    with pytest.raises(UsageError):
        FilePath(name, env=env)
    with pytest.raises(UsageError):
        file_path("fine", name, env=env)


def test_no_name_is_refused(env: TestEnv) -> None:
    with pytest.raises(UsageError, match=r"^there is no name to make a path of$"):
        FilePath(env=env)  # type: ignore[call-overload]  # what is tested


def test_nothing_runs_once_nothing_is_left_to_remove(tmp_path: Path) -> None:
    before = children()
    with TestEnv.temporary() as env, FilePath("file", env=env):
        assert len(children() - before) == 1
    assert children() == before


SCRIPT = """
import os, signal, sys
from pathlib import Path
from qemu_blocksdk.codec import evolve
from qemu_blocksdk.testing.env import TestEnv
from qemu_blocksdk.testing.paths import FilePath, file_path

folder, end = Path(sys.argv[1]), sys.argv[2]
held = [os.pipe() for _ in range(5)]  # so that the next descriptor has two digits
with TestEnv.temporary() as env:
    env = env.evolve(test_dir=folder, sock_dir=folder / ("d" * 200))
    env.sock_dir.mkdir()
    file, odd = file_path("file", "odd\\n'name", env=env)
    sock = file_path("sock", env=env, base_dir=env.sock_dir)
    with FilePath("gone", env=env) as gone, FilePath("tree", env=env) as tree:
        (tree / "below").mkdir(parents=True)
        for path in (file, odd, sock, gone):
            path.touch()
        (folder / "own").touch()
        print(sock.parent, flush=True)
        if end == "fork":
            if os.fork() == 0:
                sys.exit(0)
            assert os.wait()[1] == 0 and all(one.exists() for one in (file, odd, sock, gone, tree))
        elif end == "exit":
            os._exit(3)
        elif end == "error":
            raise SystemExit(3)
        elif end != "end":
            os.kill(os.getpid(), getattr(signal, end))
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("end", 0),
        ("fork", 0),
        ("error", 3),
        ("exit", 3),
        ("SIGTERM", -15),
        ("SIGINT", -2),
        ("SIGKILL", -9),
    ],
)
def test_nothing_is_left_however_the_process_ends(end: str, status: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "tests"
    folder.mkdir()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-Werror", script, folder, end],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert done.stderr == "" or end == "SIGINT"
    short = Path(done.stdout.splitlines()[0])
    assert short.name.startswith("blocksdk-")
    limit = time.monotonic() + 5
    while (
        {path.name for path in folder.iterdir()} != {"own", "d" * 200}
        or short.exists()
        or list(temporary.iterdir())
    ):
        # Who is killed leaves it to another process, whose end nobody tells us.
        assert time.monotonic() < limit, (list(folder.iterdir()), list(temporary.iterdir()))
        time.sleep(0.005)


def test_what_was_removed_in_time_is_not_removed_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from qemu_blocksdk.testing.env import TestEnv\n"
        "from qemu_blocksdk.testing.paths import FilePath\n"
        "with TestEnv.temporary() as env:\n"
        "    with FilePath('file', env=env, base_dir=sys.argv[1]) as path:\n"
        "        pass\n"
        "    path.touch()\n"
        "    print(env.test_dir, flush=True)\n"
        "    os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    limit = time.monotonic() + 5
    while Path(done.stdout.strip()).exists():
        assert time.monotonic() < limit
        time.sleep(0.005)
    assert [path.name.partition("-")[2] for path in tmp_path.glob("*-file")] == ["file"]
