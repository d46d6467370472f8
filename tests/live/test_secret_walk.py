"""Every door by which a secret comes in, by every exit at which it could show."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import attrs
import pytest

from qemu_blocksdk import VM, StorageDaemon
from qemu_blocksdk.blockdev import File, Qcow2
from qemu_blocksdk.testing import replay
from qemu_blocksdk.testing.report import Recorder, describe
from tests.live import secret_doors
from tests.live.helpers import ROOT, run
from tests.live.secret_doors import DOORS, FACES, SPELLINGS, Door, Kit, forms

pytest_plugins = ["pytester"]

OWN = (__file__, secret_doors.__file__)


Started = tuple[list[str], Mapping[str, str]]
"""The command line of a child, and its variables where they are not ours."""


class Spy:
    """What this process hands to its children, while somebody looks."""

    def __init__(self) -> None:
        self.started: list[Started] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.started is not None and event == "subprocess.Popen":
            _, words, _, environment = args
            self.started.append((list(map(str, words)), environment or {}))


SPY = Spy()


class Logs(logging.Handler):
    """All that is logged, as it is shown and as it was given."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        shown = self.format(record)
        self.lines.append(f"{shown} {record.msg!r} {record.args!r} {record.__dict__!r}")


class Stand(NamedTuple):
    """The QEMUs, which are there for all doors, and what listens to them."""

    vm: VM
    daemon: StorageDaemon
    recorder: Recorder
    messages: list[object]
    recording: Path


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """QEMUs that all doors use."""
    folder = tmp_path_factory.mktemp("stand")
    disk = folder / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", disk, "1M")
    recorder, messages = Recorder(), list[object]()
    recorder.add_listener(messages.append)
    with replay.record(folder / "session.jsonl") as recording:
        recorder.add_listener(recording)
        with (
            VM(
                args=["-device", "virtio-scsi", "-device", "scsi-cd,id=cd"], on_message=recorder
            ) as vm,
            StorageDaemon(on_message=recorder) as daemon,
        ):
            vm.add_node(Qcow2(node_name="disk", file=File(filename=str(disk))))
            yield Stand(vm, daemon, recorder, messages, folder / "session.jsonl")


class Seen(NamedTuple):
    """What there is to look at when somebody has gone through a door, with each spelling."""

    kit: Kit
    stand: Stand
    errors: list[BaseException]
    started: list[Started]
    logs: list[str]
    warned: list[warnings.WarningMessage]
    outputs: str
    recorded: int


def in_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came of, and those of a group."""
    todo, seen = [error], set[int]()
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += [each.__cause__, each.__context__]
            if isinstance(each, BaseExceptionGroup):
                todo += cast("BaseExceptionGroup[BaseException]", each).exceptions


def texts_of(error: BaseException) -> Iterator[str]:
    """What an error says, and what it holds."""
    yield f"{error} {error!r} {error.args!r} {vars(error)!r}"
    for name in dir(error):
        if name[0] != "_":
            yield f"{name}: {getattr(error, name, None)!r}"
    with contextlib.suppress(TypeError, AttributeError):
        yield pickle.dumps(error).decode("latin-1")


def frames_of(error: BaseException) -> Iterator[str]:
    """Each frame with its variables, but for those of the tests."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename not in OWN:
            where = f"{frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}"
            for name, value in frame.f_locals.items():
                yield f"{where}: {name} = {value!r}"
                with contextlib.suppress(TypeError):
                    yield f"{where}: {name} has {vars(value)!r}" if name != "self" else ""


def captured(seen: Seen) -> Iterator[str]:
    """The traceback as a report with variables has it, but for the frames of the tests."""
    for error in seen.errors:
        whole = traceback.TracebackException.from_exception(error, capture_locals=True)
        todo: list[traceback.TracebackException | None] = [whole]
        while todo:
            each = todo.pop()
            if each is not None:
                each.stack = traceback.StackSummary.from_list(
                    [frame for frame in each.stack if frame.filename not in OWN]
                )
                todo += [each.__cause__, each.__context__, *(each.exceptions or ())]
        yield from whole.format()
        for one in in_chain(error):
            yield from frames_of(one)


def fields_of(value: object) -> Iterator[str]:
    """What shows the fields of an attrs class by itself, as rich does."""
    if attrs.has(type(value)):
        for field in attrs.fields(cast("type[attrs.AttrsInstance]", type(value))):
            if field.repr:
                show = field.repr if callable(field.repr) else repr
                yield str(show(getattr(value, field.name)))


def drawings(seen: Seen) -> Iterator[str]:
    """All pictures of the block graph."""
    for qemu in (seen.stand.vm, seen.stand.daemon):
        graph = qemu.graph()
        yield from (graph.draw(permissions=True), graph.mermaid(), graph.dot(), repr(graph))
        yield from map(repr, graph.nodes)


def files(seen: Seen) -> Iterator[str]:
    """What lies in files, but for images that a door has made of a secret."""
    import tempfile

    for folder in (seen.kit.folder, Path(tempfile.gettempdir())):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in (".qcow2",):
                yield path.read_bytes().decode("latin-1")


EXITS: Mapping[str, Callable[[Seen], Iterator[str]]] = {
    "command lines": lambda seen: iter(str(words) for words, _ in seen.started),
    "environments": lambda seen: iter(str(variables) for _, variables in seen.started),
    "logs": lambda seen: iter(seen.logs),
    "warnings": lambda seen: iter(str(each) for each in seen.warned),
    "standard output": lambda seen: iter([seen.outputs]),
    "reprs": lambda seen: iter(
        text
        for each in seen.kit.shown
        if not isinstance(each, str)
        for text in (repr(each), str(each), *fields_of(each))
    ),
    "reports of QEMU": lambda seen: iter(
        [
            repr(seen.stand.vm),
            str(vars(seen.stand.vm.process)),
            *seen.stand.vm.process.argv,
            seen.stand.vm.process.output(),
            describe(seen.stand.vm, seen.stand.recorder).text,
        ]
    ),
    "errors": lambda seen: iter(
        text for error in seen.errors for each in in_chain(error) for text in texts_of(each)
    ),
    "tracebacks": captured,
    "recordings": lambda seen: iter([seen.stand.recording.read_text()[seen.recorded :]]),
    "messages": lambda seen: iter([json.dumps(seen.stand.messages, ensure_ascii=False)]),
    "drawings": drawings,
    "files": files,
}


def _enter(door: Door, kit: Kit, secret: str) -> BaseException | None:
    try:
        door.enter(kit, secret)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None


@pytest.mark.parametrize(
    ("name", "face"),
    [(name, face) for name, door in DOORS.items() for face in FACES if door.face in ("", face)],
)
def test_no_exit_shows_a_secret(
    name: str, face: str, stand: Stand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    door = DOORS[name]
    logs, root = Logs(), logging.getLogger()
    level = root.level
    stand.messages.clear()
    recorded = len(stand.recording.read_text())
    is_async = face == "async"
    vm, daemon = (stand.vm._async, stand.daemon._async) if is_async else (stand.vm, stand.daemon)
    kit = Kit(FACES[face], vm, daemon, tmp_path, [])
    errors = list[BaseException]()
    root.addHandler(logs)
    root.setLevel(logging.DEBUG)
    SPY.started = started = list[Started]()
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for spelling in door.spellings:
                error = _enter(door, kit, SPELLINGS[spelling])
                assert door.fails in (None, error is not None), (spelling, error)
                errors += [] if error is None else [error]
    finally:
        SPY.started = None
        root.removeHandler(logs)
        root.setLevel(level)
    seen = Seen(
        kit, stand, errors, started, logs.lines, warned, "".join(capfd.readouterr()), recorded
    )
    forbidden = {form for spelling in door.spellings for form in forms(SPELLINGS[spelling])}
    shown = {
        where: text[max(0, found - 150) : found + 60]
        for where, look in EXITS.items()
        if not (door.shows and where in ("command lines", "environments"))
        for text in look(seen)
        for form in forbidden
        if (found := text.lower().find(form)) >= 0
    }
    assert not shown, "\n".join(["", *(f"{where}: {text!r}" for where, text in shown.items())])


PYTEST = """
import logging

import pytest

from qemu_blocksdk import VM, StorageDaemon
from tests.live.secret_doors import DOORS, FACES, SPELLINGS, Kit

SECRET = "JSON's end"


def kit_of(face, vm, daemon, folder):
    if face == "async":
        vm, daemon = vm._async, daemon._async
    return Kit(FACES[face], vm, daemon, folder, [])


@pytest.fixture(scope="module")
def stand():
    with VM() as vm, StorageDaemon() as daemon:
        yield vm, daemon


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("door", [name for name, door in DOORS.items() if door.fails])
def test_door(door, face, stand, tmp_path):
    DOORS[door].enter(kit_of(face, *stand, tmp_path), SPELLINGS[SECRET])


def test_sections(vm, storage_daemon, tmp_path, caplog, qmp_log):
    caplog.set_level(logging.DEBUG)
    for door in DOORS.values():
        for face in FACES:
            try:
                door.enter(kit_of(face, vm, storage_daemon, tmp_path), SPELLINGS[SECRET])
            except Exception:
                pass
    print(qmp_log.text())
    raise AssertionError("all doors have been passed")
"""


@pytest.mark.timeout(180)
def test_no_report_of_pytest_shows_a_secret(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_doors=PYTEST)
    done = pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "qemu_blocksdk.testing.pytest_plugin"),
        *("-o", "blocksdk_short_names=true"),
        *("-rA", "--showlocals", "--log-level=DEBUG", f"--rootdir={pytester.path}"),
    )
    outcomes = done.parseoutcomes()
    assert outcomes["failed"] > len(DOORS)
    assert outcomes.get("passed", 0) < 10
    text = done.stdout.str() + done.stderr.str()
    assert "QMP:" in text
    assert "stand = " in text
    assert_free(text)


DROP_IN = """
import os, sys, traceback

import iotests
from pathlib import Path

SECRET = Path(os.environ["SECRET"]).read_text()
os.dup2(os.open(os.environ["SEEN"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
os.dup2(1, 2)
DOUBLED = SECRET.replace(",", ",,")
OBJECT = "secret,id=s,data=" + DOUBLED
monitor = iotests.file_path("monitor", base_dir=iotests.sock_dir)


def interactive():
    iotests.QemuIoInteractive("--object", OBJECT, "none.qcow2")


def broken(name, *args):
    words, iotests_images = ["no-such"], sys.modules["qemu_blocksdk.iotests.images"]
    before = iotests_images.qemu_img_args, iotests_images.qemu_io_args
    iotests_images.qemu_img_args = iotests_images.qemu_io_args = words
    try:
        getattr(iotests, name)(*args)
    finally:
        iotests_images.qemu_img_args, iotests_images.qemu_io_args = before


def killed():
    killer = Path(iotests.test_dir, "killer")
    killer.write_text("#!/bin/sh\\nkill -9 $$\\n")
    killer.chmod(0o755)
    iotests.qemu_tool_pipe_and_status("killer", [str(killer), "--object", OBJECT])


def launched(*args):
    with iotests.VM() as vm:
        vm.add_object(OBJECT)
        vm.add_args(*args)
        try:
            vm.launch()
        finally:
            print(vm.get_log())


def monitored():
    with iotests.VM() as vm:
        vm.add_args("-qmp", f"unix:{monitor},server=on,wait=off")
        vm.launch()
        for name, args in {
            "object-add": {"qom-type": "secret", "id": "s", "data": SECRET, "bogus": 1},
            "set_password": {"protocol": "vnc", "password": SECRET},
        }.items():
            print(vm.qmp(name, **args))
            attempt(lambda: vm.command(name, **args))
            attempt(lambda: vm.qmp(name, **args, no_json={1}))
        print(vm.hmp(f"set_password vnc {SECRET}"))
        print(vm.hmp_qemu_io("x", f"reopen -o password={DOUBLED}"))
        vm.shutdown()
        attempt(lambda: vm.qmp(name, **args))


def alone():
    protocol = sys.modules["qemu_blocksdk.iotests.protocols"].QEMUMonitorProtocol(monitor)
    attempt(protocol.connect)
    protocol.cmd("set_password", {"protocol": "vnc", "password": SECRET})


def attempt(door):
    try:
        door()
    except BaseException as error:
        whole = traceback.TracebackException.from_exception(error, capture_locals=True)
        todo = [whole]
        while todo:
            each = todo.pop()
            if each is not None:
                each.stack[:] = [one for one in each.stack if one.filename != __file__]
                todo += [each.__cause__, each.__context__]
        print(*whole.format())
        while error is not None:
            print(repr(error), error.args, vars(error))
            error = error.__cause__


for door in (
    lambda: iotests.qemu_img("info", "--object", OBJECT, "none"),
    lambda: iotests.qemu_img_pipe("info", "--object", OBJECT, "none"),
    lambda: iotests.qemu_img_create("-f", "luks", "--object", OBJECT, "/no/x", "1M"),
    lambda: iotests.qemu_img_measure("--object", OBJECT, "none"),
    lambda: iotests.qemu_img_verbose("info", "--object", OBJECT, "none"),
    lambda: iotests.qemu_img_log("info", "--object", OBJECT, "none"),
    lambda: iotests.qemu_io("--object", OBJECT, "none"),
    lambda: iotests.qemu_io("-c", f"open -o password={DOUBLED}"),
    lambda: iotests.qemu_nbd("--object", OBJECT, "none"),
    lambda: iotests.qemu_nbd_early_pipe("--object", OBJECT, "none"),
    lambda: iotests.qemu_nbd_popen("--object", OBJECT, "none").__enter__(),
    interactive,
    lambda: broken("qemu_img", "info", "--object", OBJECT),
    lambda: broken("qemu_img_verbose", "info", "--object", OBJECT),
    lambda: broken("qemu_io", "--object", OBJECT),
    killed,
    lambda: launched("-bogus"),
    lambda: launched("-device", f"bogus,password={DOUBLED}"),
    monitored,
    alone,
):
    attempt(door)
print("all doors have been passed")
"""


def test_the_drop_in_shows_no_secret_but_where_the_script_says_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    script = tmp_path / "300"
    script.write_text(DROP_IN)
    for spelling in secret_doors.FEW:
        secret.write_text(SPELLINGS[spelling])
        done = subprocess.run(
            [sys.executable, "-m", "qemu_blocksdk.iotests", "run", str(script)],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SECRET": str(secret),
                "SEEN": str(tmp_path / "seen"),
            },
        )
        seen = (tmp_path / "seen").read_text()
        assert "all doors have been passed" in seen
        assert_free(seen + done.stdout + done.stderr)


def assert_free(text: str) -> None:
    """Fail where a text has a secret of any spelling."""
    for form in {form for secret in SPELLINGS.values() for form in forms(secret)}:
        found = text.lower().find(form)
        assert found < 0, text[max(0, found - 300) : found + 100]
