"""Asking a binary for its schema; programs written here take QEMU's place."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu_blocksdk.errors import DeadlineExceeded, LaunchError, UsageError
from qemu_blocksdk.schema import snapshots
from qemu_blocksdk.schema.__main__ import main
from qemu_blocksdk.schema.fetch import fetch
from tests.programs import python_program

MakeProgram = Callable[[str], str]

SYSTEM = "QEMU emulator version 9.9.1 (Test)"
DAEMON = "qemu-storage-daemon version 9.9.1 (Test)"

PREAMBLE = """
import json, os, re, signal, socket, sys, time
def banner(text):
    if "--version" in sys.argv:
        print(text)
        sys.exit(0)
def monitor():
    fd = int(re.search(r"fd=(\\d+)", " ".join(sys.argv))[1])
    return socket.socket(fileno=fd)
def requests(sock):
    # qemu.qmp ends no message with a newline.
    buffer, decoder = "", json.JSONDecoder()
    while data := sock.recv(4096).decode():
        buffer += data
        request, end = decoder.raw_decode(buffer)
        buffer = buffer[end:].lstrip()
        yield request
def serve(answers):
    sock = monitor()
    def send(message):
        sock.sendall(json.dumps(message).encode() + b"\\r\\n")
    version = {"qemu": {"major": 9, "minor": 9, "micro": 1}, "package": "Test"}
    send({"QMP": {"version": version, "capabilities": []}})
    answers = {"qmp_capabilities": {}, "query-version": version, **answers}
    for request in requests(sock):
        if request["execute"] not in answers:
            sys.exit("cannot go on")
        send({"return": answers[request["execute"]], "id": request.get("id")})
"""


@pytest.fixture
def program(tmp_path: Path) -> MakeProgram:
    def make(body: str) -> str:
        return str(python_program(tmp_path / "qemu-fake", f"{PREAMBLE}\n{body}\n"))

    return make


SERVING = 'serve({"query-qmp-schema": [{"meta-type": "command", "name": "go"}]})'


@pytest.mark.parametrize(("banner", "kind"), [(SYSTEM, "system"), (DAEMON, "storage-daemon")])
def test_the_answer_is_written_with_who_gave_it(
    program: MakeProgram, tmp_path: Path, banner: str, kind: str
) -> None:
    out = tmp_path / "out.json"
    fetched = fetch(program(f"banner({banner!r})\n{SERVING}"), out)
    assert fetched.meta == {"binary": kind, "version": "9.9.1", "package": "Test"}
    assert json.loads(out.read_text())["meta"] == fetched.meta
    assert list(snapshots.read(out)) == ["go"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('print("GNU coreutils 9.1")', "neither a QEMU system emulator nor"),
        ('print("qemu-img version 9.9.1")', "neither a QEMU system emulator nor"),
        (f'banner({SYSTEM!r}); print("no such CPU"); sys.exit(3)', "status 3.*no such CPU"),
        (f"banner({SYSTEM!r}); serve({{}})", "cannot go on"),
        (f"banner({SYSTEM!r}); monitor().sendall(b'SSH-2.0\\r\\n'); time.sleep(60)", "before it"),
        (f"banner({SYSTEM!r}); os.kill(os.getpid(), signal.SIGSEGV)", "before it"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_leaves_no_file(
    program: MakeProgram, tmp_path: Path, body: str, said: str
) -> None:
    out = tmp_path / "out.json"
    with pytest.raises(LaunchError, match=said) as caught:
        fetch(program(body), out)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["qemu-fake"]


@pytest.mark.parametrize("body", ["time.sleep(60)", f"banner({SYSTEM!r}); time.sleep(60)"])
def test_a_program_that_does_not_answer_is_given_up_and_killed(
    program: MakeProgram, tmp_path: Path, body: str
) -> None:
    pid_file = tmp_path / "pid"
    noting = f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))"
    with pytest.raises(DeadlineExceeded):
        fetch(program(f"{noting}; {body}"), tmp_path / "out.json", timeout=0.5)
    assert not Path("/proc", pid_file.read_text()).exists()
    assert not (tmp_path / "out.json").exists()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, of util-linux")
def test_a_fetch_that_is_killed_leaves_no_program(program: MakeProgram, tmp_path: Path) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    noting = f"open({str(fifo)!r}, 'w').write(str(os.getpid()))"
    path = program(f"banner({SYSTEM!r}); {noting}; time.sleep(60)")
    argv = ["fetch", "--qemu", path, "--out", str(tmp_path / "out.json")]
    with subprocess.Popen([sys.executable, "-m", "qemu_blocksdk.schema", *argv]) as fetching:
        child = os.pidfd_open(int(fifo.read_text()))
        try:
            fetching.kill()
            assert select.select([child], [], [], 10) == ([child], [], [])
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
            os.close(child)


def test_without_setpriv_a_binary_is_asked_all_the_same(
    program: MakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out.json"
    assert fetch(program(f"banner({SYSTEM!r})\n{SERVING}"), out).meta["binary"] == "system"


def test_a_missing_program_and_one_that_cannot_run_are_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    for path in (tmp_path / "missing", plain):
        with pytest.raises(LaunchError, match=f"cannot start {path}"):
            fetch(str(path), tmp_path / "out.json")


def test_a_file_that_cannot_be_written_is_named(program: MakeProgram, tmp_path: Path) -> None:
    out = tmp_path / "missing" / "out.json"
    with pytest.raises(UsageError, match="cannot write"):
        fetch(program(f"banner({SYSTEM!r})\n{SERVING}"), out)


def test_the_command_says_what_it_fetched_and_fails_in_one_line(
    program: MakeProgram, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    path = program(f"banner({SYSTEM!r})\n{SERVING}")
    assert main(["fetch", "--qemu", path, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: system 9.9.1, 1 entries\n"
    assert main(["fetch", "--qemu", "/missing/qemu", "--out", str(out)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
