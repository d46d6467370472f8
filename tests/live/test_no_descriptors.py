"""Without descriptors every door raises an error of ours, leaks nothing, and works again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.helpers import Script

pytestmark = pytest.mark.timeout(150)

_DOORS = """
import gc, os, resource, shutil, tempfile
from pathlib import Path
from qemu_blocksdk import VM, Image, NbdServer, Qmp, QemuIo, StorageDaemon
from qemu_blocksdk.blockdev import NullCo
from qemu_blocksdk.codec import Secret
from qemu_blocksdk.errors import BlockSdkError
from qemu_blocksdk.qmp import background_loop

folder = Path(tempfile.mkdtemp(dir="/tmp"))  # short: it has sockets
tempfile.tempdir = str(folder / "t")
Path(tempfile.tempdir).mkdir()
disk, monitor = folder / "disk.raw", folder / "monitor.sock"
disk.write_bytes(bytes(65536))

def launch_daemon():
    with StorageDaemon() as daemon:
        daemon.query_jobs()

def launch_vm():
    with VM(machine="none"):
        pass

def launch_with_monitor():
    with StorageDaemon(monitors=[folder / "other.sock"]):
        pass

def launch_with_secret():
    with StorageDaemon(secrets={"key": Secret("hush")}):
        pass

def connect():
    with Qmp.connect(monitor) as qmp:
        qmp.execute_raw("query-version")

def attach():
    with StorageDaemon.attach(monitor) as attached:
        attached.query_jobs()

def probe():
    Image.probe(disk)

def info():
    Image(disk, format="raw").info()

def create():
    Image(folder / "new.qcow2", format="qcow2").create("1M")
    (folder / "new.qcow2").unlink()

def convert():
    Image(disk, format="raw").convert(Image(folder / "copy.qcow2", format="qcow2"))
    (folder / "copy.qcow2").unlink()

def qemu_io():
    with QemuIo(Image(disk, format="raw")) as session:
        session.read(0, 512)

def nbd_server():
    with NbdServer(Image(disk, format="raw")):
        pass

def export():
    with running.start_nbd_server() as server, server.export(running.node("n")):
        pass

def loop():
    background_loop.call(lambda: None)

SOFT, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)

def opened():
    numbers = {int(name) for name in os.listdir("/proc/self/fd")}
    return {number for number in numbers if os.path.lexists(f"/proc/self/fd/{number}")}

def names():
    return {p for each in (folder, Path(tempfile.tempdir)) for p in each.iterdir()}

def walk(door):
    before, files = opened(), names()
    for free in range(80):
        # What the system gives is always the lowest number that is free.
        limit = sorted(set(range(200)) - before)[free]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, HARD))
        problem = None
        try:
            door()
            return free
        except BlockSdkError as error:
            problem = error
        except BaseException as error:
            resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
            print(f"{door.__name__}, {free} free: {type(error).__name__}: {error}", flush=True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
        del problem
        gc.collect()
        if leaked := opened() - before:
            print(f"{door.__name__}, {free} free: leaks {leaked}", flush=True)
            before = opened()
        if left := names() - files:
            print(f"{door.__name__}, {free} free: leaves {left}", flush=True)
            files = names()
    print(f"{door.__name__} never worked", flush=True)

walk(loop)
with StorageDaemon(monitors=[monitor]) as running:
    running.add_node(NullCo(node_name="n"))
    doors = (
        *(launch_daemon, launch_vm, launch_with_monitor, launch_with_secret, connect, attach),
        *(probe, info, create, convert, qemu_io, nbd_server, export),
    )
    for door in doors:
        door()  # as it is with descriptors, and all that is loaded at the first use
        walk(door)
        door()
shutil.rmtree(folder)
print("done", flush=True)
"""


def test_every_door_fails_well_and_works_again(tmp_path: Path) -> None:
    with Script(tmp_path, _DOORS) as script:
        assert script.finish(timeout=120) == "done\n"
