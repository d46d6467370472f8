"""A traceback with local variables shows no secret that was passed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from qemu_blocksdk import VM, Image, Secret, aio
from qemu_blocksdk.blockdev import (
    Https,
    from_blockdev,
    from_filename,
    from_image_opts,
    from_json,
    to_python,
)
from qemu_blocksdk.codec import JsonObject
from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.sealed import sealed
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.wire import HumanMonitorCommand, ObjectAdd, ObjectOptionsSecret, QomSet

SECRET = "hunter2HUNT"
ADD = {"qom-type": "secret", "id": "s", "data": SECRET, "bogus": 1}
WRONG: JsonObject = {"driver": "https", "url": "https://h/d", "cookie": SECRET, "bogus": 1}
BAD_OBJECT = ObjectOptionsSecret(id="s", data=f"{SECRET}!", format="base64")
SHOWN = f"-object secret,id=s,data={SECRET}"
VM_DOORS: dict[str, Callable[[VM], object]] = {
    "execute_raw": lambda vm: vm.qmp.execute_raw("object-add", ADD),
    "execute_raw, no JSON": lambda vm: vm.qmp.execute_raw("x", {**ADD, "bogus": {1}}),
    "execute_raw, NUL": lambda vm: vm.qmp.execute_raw("x", {"password": f"{SECRET}\0"}),
    "execute": lambda vm: vm.qmp.execute(ObjectAdd(options=BAD_OBJECT)),
    "qom-set": lambda vm: vm.qmp.execute(QomSet(path="/x", property="y", value=SECRET)),
    "time limit": lambda vm: vm.qmp.execute_raw("object-add", ADD, timeout=0),
    "hmp": lambda vm: vm.hmp(f"set_password vnc {SECRET}\0"),
    "hmp, typed": lambda vm: vm.qmp.execute(
        HumanMonitorCommand(command_line=f"set_password vnc {SECRET}\0")
    ),
    "hmp_qemu_io": lambda vm: vm.hmp_qemu_io("x", f"open -o password={SECRET}"),
}
DOORS: dict[str, Callable[[], object]] = {
    "from_json": lambda: from_json(WRONG),
    "from_json text": lambda: from_json(f'{{"driver": "https", "cookie": "{SECRET}", '),
    "from_filename": lambda: from_filename(f'json:{{"driver": "https", "cookie": "{SECRET}"}}'),
    "from_blockdev": lambda: from_blockdev(f"driver=https,password={SECRET},bogus"),
    "from_image_opts": lambda: from_image_opts(f"driver=https,cookie={SECRET},x.y=1"),
    "to_python": lambda: to_python(WRONG),
    "NbdUri": lambda: NbdUri.parse(f"nbd://user:{SECRET}@host/x"),
    "Image options": lambda: Image.from_options(Https(url=f"https://u:{SECRET}@host/x")),
    "Image at": lambda: Image.at_uri(f"nbd://user:{SECRET}@host/x"),
    "value": lambda: ObjectOptionsSecret(id="s", data=SECRET, bogus=1),  # type: ignore[call-arg]
    "Secret": lambda: Secret(f"\ud800{SECRET}"),
    "VM": lambda: VM(args=["-bogus", SHOWN]).launch(),
    "async VM": lambda: asyncio.run(entered()),
}


async def entered() -> None:
    """Launch a QEMU that does not start."""
    async with aio.AsyncVM(args=["-bogus", SHOWN]):
        pass


def in_chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came of."""
    todo: list[BaseException | None] = [error]
    seen = set[int]()
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += (each.__cause__, each.__context__)


def assert_hidden(error: BaseException) -> None:
    """Look into all that a report with local variables shows, but for this file's own frames."""
    for each in in_chain(error):
        trace = each.__traceback__
        while trace is not None:
            frame = trace.tb_frame
            if frame.f_globals.get("__name__") != __name__:
                for name, value in frame.f_locals.items():
                    assert SECRET not in repr(value), f"{name} in {frame.f_code.co_qualname}"
            trace = trace.tb_next
        assert SECRET not in f"{each} {each!r}"
        assert SECRET not in str(vars(each)) or not isinstance(each, BlockSdkError)


def test_an_error_of_a_running_qemu_holds_no_secret() -> None:
    with VM() as vm:
        for door in VM_DOORS.values():
            with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is
                door(vm)
            assert_hidden(raised.value)


@pytest.mark.parametrize("door", DOORS)
def test_an_error_of_a_door_holds_no_secret(door: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is
        DOORS[door]()
    assert_hidden(raised.value)


def test_the_frames_of_a_callback_stay() -> None:
    @sealed
    def verb(argument: str) -> None:
        callback()

    def callback() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError) as raised:
        verb(SECRET)
    assert raised.traceback[-1].name == "callback"


def test_a_fault_of_ours_says_where_it_was() -> None:
    with pytest.raises(TypeError) as raised:
        NbdUri.parse(3)  # type: ignore[arg-type]
    assert any("nbd.py" in note for note in raised.value.__notes__)
