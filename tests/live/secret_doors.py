"""Every way in which a secret comes in, as data: a name, and what to do with a secret.

A door is written for the blocking classes and serves the async ones as well: ``Kit`` has those of
one face, and its ``do`` awaits what has to be awaited.
"""

from __future__ import annotations

import base64
import inspect
import json
import urllib.parse
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import qemu_blocksdk
from qemu_blocksdk import aio, blockdev
from qemu_blocksdk.blockdev import Drive, Http, Https, Iscsi, Raw
from qemu_blocksdk.codec import JsonObject, Secret, decode, encode, evolve, keyval
from qemu_blocksdk.objects import Chardev
from qemu_blocksdk.qmp import background_loop
from qemu_blocksdk.testing.assertions import MessageAssertions
from qemu_blocksdk.testing.dictpath import dictpath
from qemu_blocksdk.testing.event_queue import QueuedQmp
from qemu_blocksdk.tools import CreateLuks, Programs
from qemu_blocksdk.tools.amendment import AmendLuks
from qemu_blocksdk.tools.nbd import NbdUri
from qemu_blocksdk.tools.run import run
from qemu_blocksdk.tools.tls import TlsX509
from qemu_blocksdk.wire import (
    BlockdevAdd,
    HumanMonitorCommand,
    ObjectAdd,
    ObjectOptionsSecret,
    QCryptoHashAlgo,
    QomSet,
)

MARK = "Qv7Kj2Wx9Zt4"  # of these tests alone, and nothing that is a word somewhere
SPELLINGS: Mapping[str, str] = {
    "plain": MARK,
    "@": f"{MARK}@{MARK}",
    "/": f"{MARK}/{MARK}?{MARK}#{MARK}",
    ":": f"{MARK}:{MARK}",
    "quotes": f"{MARK}\"{MARK}'{MARK}",
    "JSON's end": f'{MARK}"}}, "{MARK}',
    "commas": f"{MARK},{MARK},,{MARK}",
    "spaces": f"{MARK} {MARK}\t{MARK}",
    "escapes": f"{MARK}\\{MARK}\\\\{MARK}\\n{MARK}",
    "controls": f"{MARK}\x1b[31m{MARK}\u202e{MARK}",
    "percent": f"{MARK}%40{MARK}%{MARK}",
    "equals": f"{MARK}=x&{MARK}=y;{MARK}",
    "beyond ASCII": f"ö{MARK}\N{SNOWMAN}{MARK}",
}


def forms(secret: str) -> tuple[str, ...]:
    """What a text must not have, in lower case: a piece of it, plain or in a code."""
    coded = base64.b64encode(secret.encode()).decode()
    return tuple(form.lower() for form in (MARK, coded[4:-4], MARK.encode().hex()))


@dataclass(frozen=True)
class Kit:
    """What a door has: the classes of a face, and a VM and a storage daemon that run."""

    face: Any
    """The module of the classes; the async ones by their blocking names."""
    vm: Any
    daemon: Any
    folder: Path
    shown: list[object]
    """What a door made, which is looked at from outside."""

    def do(self, work: object) -> Any:  # noqa: ANN401 - of either face
        """Return a result, awaited if it has to be."""
        if inspect.iscoroutine(work):
            work = background_loop.run(cast("Coroutine[object, None, object]", work))
        self.shown.append(work)
        return work

    def launch(self, qemu: Any) -> None:  # noqa: ANN401 - of either face
        """Start and end it."""
        self.shown.append(qemu)
        try:
            self.do(qemu.launch())
            self.shown.append(qemu.process.argv)
        finally:
            self.do(qemu.stop())
            self.shown.append(repr(qemu))


class Assertions(MessageAssertions):
    """A test case of a user's."""


class Async:
    """The async classes by the names of the blocking ones."""

    def __getattr__(self, name: str) -> object:
        return getattr(aio, f"Async{name}")


FACES: Mapping[str, Any] = {"blocking": qemu_blocksdk, "async": Async()}


@dataclass(frozen=True)
class Door:
    """What takes a secret, and whether an error comes of it (None: as it happens)."""

    enter: Callable[[Kit, str], object]
    fails: bool | None = True
    shows: str = ""
    """Why a child's command line has the secret: because the caller wrote it there."""
    spellings: tuple[str, ...] = tuple(SPELLINGS)
    face: str = ""
    """The only face that has it."""


__tracebackhide__ = True  # pytest's reports show the variables of other frames only

OURS = "the caller's own words of a command line are passed on"
FEW = ("quotes", "commas", "spaces", "escapes")


def quoted(secret: str) -> str:
    """As a part of a URL."""
    return urllib.parse.quote(secret, safe="")


def doubled(secret: str) -> str:
    """As the value of an option."""
    return secret.replace(",", ",,")


def raw(name: str, arguments: Callable[[str], dict[str, object]], **more: object) -> Door:
    """Any QMP command, which QEMU refuses."""
    return Door(lambda kit, s: kit.do(kit.vm.qmp.execute_raw(name, arguments(s), **more)))


def hmp(line: Callable[[str], str]) -> Door:
    """A line of the human monitor, whose errors are texts."""
    return Door(lambda kit, s: kit.do(kit.vm.hmp(line(s))), fails=False)


def added(options: Callable[[str], Any]) -> Door:
    """Options of a node, which QEMU refuses."""
    return Door(lambda kit, s: kit.do(kit.vm.add_node(options(s))))


def launched(make: Callable[[Kit, str], object], shows: str = OURS) -> Door:
    """A QEMU that does not start."""
    return Door(lambda kit, s: kit.launch(make(kit, s)), shows=shows, spellings=FEW)


def add_and_remove(kit: Kit, arguments: dict[str, object]) -> None:
    """Add an object and remove it."""
    kit.do(kit.vm.qmp.execute_raw("object-add", arguments))
    kit.do(kit.vm.qmp.execute_raw("object-del", {"id": arguments["id"]}))


def secret_object(secret: str, **more: object) -> dict[str, object]:
    """The arguments of object-add."""
    return {"qom-type": "secret", "id": "s", "data": secret, **more}


def https(secret: str, **more: object) -> dict[str, object]:
    """The options of a node that cannot be."""
    return {"driver": "https", "url": "https://127.0.0.1:1/x", "cookie": secret, **more}


def json_name(secret: str) -> str:
    """The name of an image."""
    return "json:" + json.dumps(https(secret))


def url(secret: str) -> str:
    """A URL that nobody serves."""
    return f"http://user:{secret}@127.0.0.1:1/disk"


JSON = json.dumps

QMP: dict[str, Door] = {
    "object-add": Door(lambda kit, s: add_and_remove(kit, secret_object(s)), fails=False),
    "object-add, refused": raw("object-add", lambda s: secret_object(s, bogus=1)),
    "object-add, base64": raw("object-add", lambda s: secret_object(f"{s}!", format="base64")),
    "object-add, props": raw(
        "object-add", lambda s: {"qom-type": "secret", "id": "s", "props": {"data": s}}
    ),
    "object-add, a number": raw("object-add", lambda s: secret_object(cast("str", [s]))),
    "object-add, out of band": raw("object-add", secret_object, oob=True),
    "object-add, no time": replace(
        raw("object-add", lambda s: secret_object(s, bogus=1), timeout=0), fails=None
    ),
    "object-add, NUL": raw("object-add", lambda s: secret_object(f"{s}\0")),
    "object-add, surrogate": raw("object-add", lambda s: secret_object(f"{s}\ud800")),
    "object-add, no JSON": raw("object-add", lambda s: secret_object(s, bogus={1})),
    "object-add, a float": raw("object-add", lambda s: secret_object(s, bogus=float("nan"))),
    "object-add, too deep": raw("object-add", lambda s: secret_object(s, bogus=_deep(2000))),
    "qom-set": raw("qom-set", lambda s: {"path": "/x", "property": "data", "value": s}),
    "set_password": raw("set_password", lambda s: {"protocol": "vnc", "password": s}),
    "set_password, stray": raw("set_password", lambda s: {"protocol": s, "password": s}),
    "change-vnc-password": raw("change-vnc-password", lambda s: {"password": s}),
    "expire_password": raw(
        "expire_password", lambda s: {"protocol": "vnc", "time": "now", "password": s}
    ),
    "block_passwd": raw("block_passwd", lambda s: {"node-name": "x", "password": s}),
    "x-blockdev-amend": raw(
        "x-blockdev-amend",
        lambda s: {
            "job-id": "j",
            "node-name": "x",
            "options": {"driver": "luks", "state": "active", "passphrase": s},
        },
    ),
    "blockdev-create": raw(
        "blockdev-create",
        lambda s: {
            "job-id": "j",
            "options": {
                "driver": "ssh",
                "size": 1,
                "location": {"server": {"host": "h", "port": "1"}, "path": "p", "password": s},
            },
        },
    ),
    "blockdev-add, cookie": raw("blockdev-add", lambda s: https(s, bogus=1)),
    "blockdev-add, nested": raw("blockdev-add", lambda s: {"driver": "raw", "file": https(s, b=1)}),
    "blockdev-add, dotted": raw("blockdev-add", lambda s: {"driver": "raw", "file.cookie": s}),
    "blockdev-add, URL": raw("blockdev-add", lambda s: {"driver": "http", "url": url(s)}),
    "blockdev-add, quoted URL": raw(
        "blockdev-add", lambda s: {"driver": "http", "url": url(quoted(s))}
    ),
    "blockdev-add, iscsi": raw(
        "blockdev-add", lambda s: {"driver": "iscsi", "password": s, "user": "u"}
    ),
    "blockdev-add, rbd": raw(
        "blockdev-add",
        lambda s: {"driver": "rbd", "=keyvalue-pairs": JSON(["key", s]), "bogus": 1},
    ),
    "blockdev-add, json name": raw(
        "blockdev-add",
        lambda s: {"driver": "raw", "file": {"driver": "file", "filename": json_name(s)}},
    ),
    "drive-mirror": raw(
        "drive-mirror", lambda s: {"device": "x", "sync": "full", "target": json_name(s)}
    ),
    "blockdev-snapshot-sync": raw(
        "blockdev-snapshot-sync", lambda s: {"node-name": "x", "snapshot-file": json_name(s)}
    ),
    "change-backing-file": raw(
        "change-backing-file",
        lambda s: {"device": "disk", "image-node-name": "disk", "backing-file": url(s)},
    ),
    "blockdev-change-medium, JSON": raw(
        "blockdev-change-medium", lambda s: {"device": "cd", "filename": json_name(s)}
    ),
    "blockdev-change-medium, JSON of Python": raw(
        "blockdev-change-medium",
        lambda s: {"device": "cd", "filename": f"json:{https(s)!r}"},
    ),
    "blockdev-change-medium, cut off": raw(
        "blockdev-change-medium", lambda s: {"device": "cd", "filename": json_name(s)[:-1]}
    ),
    "blockdev-change-medium, URL": raw(
        "blockdev-change-medium", lambda s: {"device": "cd", "filename": url(s)}
    ),
    "blockdev-change-medium, rbd": raw(
        "blockdev-change-medium",
        lambda s: {"device": "cd", "filename": f"rbd:pool/image:id=a:key={_rbd(s)}:conf=/x"},
    ),
    "transaction": raw(
        "transaction",
        lambda s: {
            "actions": [
                {
                    "type": "blockdev-snapshot-sync",
                    "data": {"node-name": "x", "snapshot-file": json_name(s)},
                }
            ]
        },
    ),
    "a name of its own": raw("x", lambda s: {"a": {"b": [{"c": {"proxy-password": s}}]}}),
    "a dictionary for a command": Door(
        lambda kit, s: kit.do(kit.vm.qmp.execute({"execute": "x", "arguments": {"password": s}}))
    ),
    "typed object-add": Door(
        lambda kit, s: kit.do(
            kit.vm.qmp.execute(
                ObjectAdd(options=ObjectOptionsSecret(id="s", data=f"{s}!", format="base64"))
            )
        )
    ),
    "typed qom-set": Door(
        lambda kit, s: kit.do(kit.vm.qmp.execute(QomSet(path="/x", property="y", value=s)))
    ),
    "typed blockdev-add": Door(
        lambda kit, s: kit.do(kit.vm.qmp.execute(BlockdevAdd(options=Http(url=url(s)))))
    ),
    "typed command line": Door(
        lambda kit, s: kit.do(
            kit.vm.qmp.execute(HumanMonitorCommand(command_line=f"set_password vnc {s}\0"))
        )
    ),
    "with a descriptor": Door(
        lambda kit, s: kit.do(
            kit.vm.qmp.execute_with_fd(QomSet(path="/x", property="y", value=s), 9999)
        )
    ),
}


def _deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def _rbd(secret: str) -> str:
    return secret.replace("\\", "\\\\").replace(":", "\\:")


LINES: dict[str, Callable[[str], str]] = {
    "set_password": lambda s: f"set_password vnc {s}",
    "set_password, quoted": lambda s: f"set_password vnc {JSON(s)} keep",
    "set_password, a display": lambda s: f"set_password -d d0 spice {s} keep",
    "set_password, spaces": lambda s: f"  set_password\t vnc   {s}",
    "set_password, quotes": lambda s: f'set_password "vnc" "{s}"',
    "change": lambda s: f"change vnc password {s}",
    "change, passwd": lambda s: f"change vnc passwd {s}",
    "change, quotes": lambda s: f'change "vnc" "password" {s}',
    "change, a medium": lambda s: f"change cd {url(s)}",
    "change, quoted medium": lambda s: f"change cd {JSON(url(s))}",
    "object_add": lambda s: f"object_add secret,id=s,data={doubled(s)},format=x",
    "object_add, named": lambda s: f"object_add id=s,data={doubled(s)},qom-type=secret,format=x",
    "object_add, JSON": lambda s: f"object_add {JSON(secret_object(s, bogus=1))}",
    "drive_add": lambda s: f"drive_add 0 driver=https,file.cookie={doubled(s)},id=d",
    "drive_add, JSON": lambda s: f"drive_add 0 file={doubled(json_name(s))}",
    "qom-set": lambda s: f"qom-set /x data {s}",
    "qom-set, JSON": lambda s: f"qom-set -j /x data {JSON(s)}",
    "snapshot_blkdev": lambda s: f"snapshot_blkdev x {JSON(json_name(s))}",
    "qemu-io": lambda s: f"qemu-io x {JSON(f'reopen -o password={doubled(s)}')}",
    "block_passwd": lambda s: f"block_passwd x {s}",
    "no command": lambda s: f"bogus password={doubled(s)}",
}

VERBS: dict[str, Door] = {
    "add_secret": Door(
        lambda kit, s: (
            kit.do(kit.vm.add_secret(Secret(s), id="v")),
            kit.do(kit.vm.delete_object("v")),
        ),
        fails=False,
    ),
    "add_secret, a bad id": Door(lambda kit, s: kit.do(kit.vm.add_secret(Secret(s), id="-"))),
    "add_secret, a text": Door(lambda kit, s: kit.do(kit.vm.add_secret(s, id="v"))),
    "add_object": Door(
        lambda kit, s: kit.do(kit.vm.add_object(ObjectOptionsSecret(id="-", data=s)))
    ),
    "add_object, JSON": Door(lambda kit, s: kit.do(kit.vm.add_object(secret_object(s)))),
    "add_object, text": Door(
        lambda kit, s: kit.do(kit.vm.add_object(f"secret,id=s,data={doubled(s)}"))
    ),
    "add_node, cookie": added(lambda s: Https(node_name="n", url="https://127.0.0.1:1", cookie=s)),
    "add_node, URL": added(lambda s: Http(node_name="n", url=url(quoted(s)))),
    "add_node, below": added(lambda s: Raw(node_name="n", file=Https(url=url(s), cookie=s))),
    "add_node, without a name": added(lambda s: Https(url="https://127.0.0.1:1", cookie=s)),
    "add_node, of JSON": added(https),
    "add_node, decoded": added(
        lambda s: decode(Https, cast("JsonObject", https(s, bogus=s, password=s)))
    ),
    "add_node, a bad name": added(lambda s: Https(node_name="-", url="https://h", cookie=s)),
    "add_node, iscsi": added(
        lambda s: Iscsi(
            node_name="-",
            transport="tcp",
            portal="127.0.0.1:1",
            target="t",
            password_secret=f"password={s}",
        )
    ),
    "hmp_qemu_io": Door(
        lambda kit, s: kit.do(kit.vm.hmp_qemu_io("x", f"reopen -o password={doubled(s)}"))
    ),
    "hmp, NUL": Door(lambda kit, s: kit.do(kit.vm.hmp(f"set_password vnc {s}\0"))),
    "qmp of iotests": Door(
        lambda kit, s: kit.do(
            QueuedQmp(kit.vm.qmp).command("object-add", True, **secret_object(s, x=1))
        ),
        face="blocking",
    ),
    "qmp of iotests, no JSON": Door(
        lambda kit, s: kit.do(
            QueuedQmp(kit.vm.qmp).qmp("object-add", True, **secret_object(s, x={1}))
        ),
        face="blocking",
    ),
}


def program(kit: Kit, *words: str) -> Path:
    """A program of a test: a shell script."""
    path = kit.folder / "program"
    path.write_text("#!/bin/sh\n" + "\n".join(words) + "\n")
    path.chmod(0o755)
    return path


def image(kit: Kit, secret: str, name: str = "none.luks", **more: object) -> Any:  # noqa: ANN401 - of either face
    """An encrypted image."""
    found = cast(
        "object", kit.face.Image(kit.folder / name, format="luks", secret=Secret(secret), **more)
    )
    kit.shown.append(found)
    kit.shown.append(vars(found))
    return found


def tool(verb: Callable[[Any, Kit, str], object], fails: bool = True) -> Door:
    """A verb of an encrypted image that is not there."""
    return Door(lambda kit, s: kit.do(verb(image(kit, s), kit, s)), fails=fails, spellings=FEW)


def failing(kit: Kit) -> Programs:
    """A qemu-img that repeats its command line and its secret, and fails."""
    path = program(kit, r"""printf '%s\n' "qemu-img: no: $*" >&2""", "exit 1")
    return Programs(qemu_img=[str(path)])


IMAGES: dict[str, Door] = {
    "info": tool(lambda image, kit, s: image.info()),
    "info, untrusted": tool(lambda image, kit, s: image.info(untrusted=True)),
    "check": tool(lambda image, kit, s: image.check()),
    "map": tool(lambda image, kit, s: image.map()),
    "resize": tool(lambda image, kit, s: image.resize("2M")),
    "amend": tool(
        lambda image, kit, s: kit.do(
            image.amend(AmendLuks(new_secret=Secret(s), state="active"))
        ).run()
    ),
    "amend, a text": tool(
        lambda image, kit, s: image.amend(AmendLuks(new_secret=cast("Secret", s), state="active"))
    ),
    "create, a folder that is not there": Door(
        lambda kit, s: kit.do(image(kit, s, "no/x").create(1, CreateLuks(iter_time=0.01))),
        spellings=FEW,
    ),
    "create, an option": Door(
        lambda kit, s: kit.do(
            image(kit, s).create(
                1, CreateLuks(hash_alg=cast("QCryptoHashAlgo", f"password={doubled(s)}"))
            )
        ),
        spellings=FEW,
    ),
    "no program": Door(
        lambda kit, s: kit.do(image(kit, s, programs=Programs(qemu_img=["no-such"])).info()),
        spellings=FEW,
    ),
    "options of a program": Door(
        lambda kit, s: kit.do(
            kit.face.Image(
                kit.folder / "x",
                format="raw",
                programs=Programs(
                    qemu_img=[*failing(kit).qemu_img, "--object", f"secret,id=s,data={doubled(s)}"]
                ),
            ).info()
        ),
        shows=OURS,
        spellings=FEW,
    ),
    "secret of a text": Door(
        lambda kit, s: kit.do(kit.face.Image(kit.folder / "x", format="luks", secret=s).info())
    ),
    "Secret, surrogate": Door(lambda kit, s: Secret(f"{s}\ud800")),
    "Secret, a number": Door(lambda kit, s: Secret([s])),  # type: ignore[arg-type]
    "from_options": Door(lambda kit, s: kit.face.Image.from_options(Https(url=url(s), cookie=s))),
    "from_options, JSON": Door(lambda kit, s: kit.face.Image.from_options(https(s))),
    "from_options, secrets": Door(
        lambda kit, s: kit.do(
            kit.face.Image.from_options(
                Https(url="https://127.0.0.1:1/x", password_secret="p", username="u"),
                secrets={"p": Secret(s)},
            ).info()
        ),
        spellings=FEW,
    ),
    "at_uri": Door(lambda kit, s: kit.face.Image.at_uri(f"nbd://user:{s}@host/x")),
    "at_uri, TLS": Door(
        lambda kit, s: kit.do(
            kit.face.Image.at_uri(
                "nbds://127.0.0.1:1/x", tls=TlsX509(directory=kit.folder, password=Secret(s))
            ).info()
        ),
        spellings=FEW,
    ),
    "backing file": Door(
        lambda kit, s: kit.do(_backed(kit, json_name(s)).info()), fails=False, spellings=FEW
    ),
    "backing file, chain": Door(lambda kit, s: kit.do(_backed(kit, url(s)).chain_options("d"))),
    "backing file, map": Door(
        lambda kit, s: kit.do(_backed(kit, json_name(s)).map()), spellings=FEW
    ),
    "backing file, probe": Door(
        lambda kit, s: kit.do(kit.face.Image.probe(_backed(kit, json_name(s)).path)), fails=False
    ),
    "NbdServer": Door(lambda kit, s: kit.launch(kit.face.NbdServer(image(kit, s))), spellings=FEW),
    "NbdServer, TLS": Door(
        lambda kit, s: kit.launch(
            kit.face.NbdServer(
                kit.face.Image(kit.folder / "x", format="raw"),
                tls=TlsX509(directory=kit.folder / "none", password=Secret(s)),
            )
        ),
        spellings=FEW,
    ),
    "NbdServer, options of a program": Door(
        lambda kit, s: kit.launch(
            kit.face.NbdServer(
                kit.face.Image(kit.folder / "x", format="raw"),
                programs=Programs(
                    qemu_nbd=["no-such", "--object", f"secret,id=s,data={doubled(s)}"]
                ),
            )
        ),
        spellings=FEW,
    ),
    "NbdServer, an address in use": Door(
        lambda kit, s: kit.launch(
            kit.face.NbdServer(
                kit.face.Image(kit.folder / "x", format="raw"),
                address=kit.folder / "no" / "sock",
                programs=Programs(
                    qemu_nbd=["no-such", "--object", f"secret,id=s,data={doubled(s)}"]
                ),
            )
        ),
        spellings=FEW,
    ),
    "list_exports": Door(
        lambda kit, s: kit.do(kit.face.NbdServer.list_exports(f"nbd://u:{s}@127.0.0.1:1/x"))
    ),
    "QemuIo": Door(lambda kit, s: kit.do(kit.face.QemuIo(image(kit, s)).open()), spellings=FEW),
    "QemuIo, open": Door(
        lambda kit, s: _qemu_io(kit, lambda io: io.raw(f"open -o password={s}")),
        fails=False,
        spellings=FEW,
    ),
    "QemuIo, reopen": Door(
        lambda kit, s: _qemu_io(kit, lambda io: io.reopen(options={"password": s})), spellings=FEW
    ),
    "QemuIo, no time": Door(
        lambda kit, s: _qemu_io(
            kit, lambda io: io.raw(f"open -o password={doubled(s)}", timeout=0)
        ),
        spellings=FEW,
    ),
    "QemuIo, two lines": Door(
        lambda kit, s: _qemu_io(kit, lambda io: io.raw(f"open -o password={doubled(s)}\nx")),
        spellings=FEW,
    ),
    "QemuIo, commands": Door(
        lambda kit, s: _qemu_io(kit, lambda io: io.run_commands(f"open -o password={doubled(s)}")),
        spellings=FEW,
        shows=OURS,
    ),
    "qemu-io of a node": Door(
        lambda kit, s: kit.do(kit.vm.node("disk").qemu_io(f"reopen -o password={doubled(s)}")),
        spellings=("plain", "@", "quotes", "commas"),
    ),
    "run": Door(
        lambda kit, s: kit.do(
            background_loop.run(
                run([*failing(kit).qemu_img, "info"], [f"--object=secret,id=s,data={doubled(s)}"])
            )
        ),
        shows=OURS,
        spellings=FEW,
    ),
}


def _backed(kit: Kit, backing: str) -> Any:  # noqa: ANN401 - of either face
    """An image that has a backing file of that name."""
    path = kit.folder / "backed.qcow2"
    name = "x" * len(backing.encode())  # in place of the true one, which no command line shows
    argv = ["create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", "raw", str(path), "1M"]
    background_loop.run(run(["qemu-img"], argv))
    path.write_bytes(path.read_bytes().replace(name.encode(), backing.encode()))
    return kit.face.Image(path, format="qcow2")


def _qemu_io(kit: Kit, work: Callable[[Any], object]) -> None:
    """Work with a qemu-io that has a small image."""
    path = kit.folder / "small.raw"
    path.write_bytes(bytes(1 << 16))
    session = kit.face.QemuIo(kit.face.Image(path, format="raw"))
    kit.do(session.open())
    try:
        kit.do(work(session))
    finally:
        kit.do(session.close())


def _vm(**options: Callable[[str], object]) -> Door:
    def make(kit: Kit, secret: str) -> object:
        given = {name: value(secret) for name, value in options.items()}
        return kit.face.VM(**given)

    return launched(make)


def _words(*words: Callable[[str], str]) -> Door:
    return _vm(args=lambda s: [*(word(s) for word in words), "-bogus"])


LAUNCHES: dict[str, Door] = {
    "VM secrets": Door(
        lambda kit, s: kit.launch(kit.face.VM(secrets={"s": Secret(s)})), fails=False, spellings=FEW
    ),
    "VM secrets, refused": launched(
        lambda kit, s: kit.face.VM(secrets={"s": Secret(s)}, args=["-bogus"]), shows=""
    ),
    "StorageDaemon secrets": Door(
        lambda kit, s: kit.launch(kit.face.StorageDaemon(secrets={"s": Secret(s)})),
        fails=False,
        spellings=FEW,
    ),
    "VM objects": launched(
        lambda kit, s: kit.face.VM(objects=[ObjectOptionsSecret(id="s", data=s)]), shows=""
    ),
    "VM blockdevs": launched(
        lambda kit, s: kit.face.VM(blockdevs=[Https(node_name="n", url=url(s), cookie=s)]), shows=""
    ),
    "VM drives": launched(lambda kit, s: kit.face.VM(drives=[Drive(file=url(s))]), shows=""),
    "VM drives, options": launched(
        lambda kit, s: kit.face.VM(
            drives=[Drive(options=Raw(file=Https(url="https://h", cookie=s)))]
        ),
        shows="",
    ),
    "VM chardevs": launched(
        lambda kit, s: kit.face.VM(
            chardevs=[Chardev(id="c", backend="socket", options={"password": s})]
        ),
        shows="",
    ),
    "StorageDaemon objects": launched(
        lambda kit, s: kit.face.StorageDaemon(objects=[ObjectOptionsSecret(id="s", data=s)]),
        shows="",
    ),
    "StorageDaemon args": launched(
        lambda kit, s: kit.face.StorageDaemon(
            args=["--object", f"secret,id=s,data={doubled(s)}", "--bogus"]
        )
    ),
    "StorageDaemon args, JSON": launched(
        lambda kit, s: kit.face.StorageDaemon(args=["--object", JSON(secret_object(s, bogus=1))])
    ),
    "args, -object": _words(lambda s: "-object", lambda s: f"secret,id=s,data={doubled(s)}"),
    "args, --object=": _words(lambda s: f"--object=secret,id=s,data={doubled(s)}"),
    "args, type last": _words(
        lambda s: "-object", lambda s: f"id=s,data={doubled(s)},qom-type=secret"
    ),
    "args, JSON": _words(lambda s: "-object", lambda s: JSON(secret_object(s, bogus=1))),
    "args, base64": _words(
        lambda s: "-object", lambda s: f"secret,id=s,format=base64,data={doubled(s)}!"
    ),
    "args, -drive": _words(lambda s: "-drive", lambda s: f"driver=https,file.cookie={doubled(s)}"),
    "args, -drive of JSON": _words(lambda s: "-drive", lambda s: f"file={doubled(json_name(s))}"),
    "args, -drive of a URL": _words(
        lambda s: "-drive", lambda s: f"file={doubled(url(s))},if=none"
    ),
    "args, -blockdev": _words(lambda s: "-blockdev", lambda s: JSON(https(s))),
    "args, -hda": _words(lambda s: "-hda", url),
    "args, a name": _words(url),
    "args, -iscsi": _words(lambda s: "-iscsi", lambda s: f"user=u,password={doubled(s)}"),
    "args, -spice": _words(lambda s: "-spice", lambda s: f"password={doubled(s)},port=1"),
    "args, NUL": launched(
        lambda kit, s: kit.face.VM(args=["-object", f"secret,id=s,data={s}\0"]), shows=""
    ),
    "program": launched(
        lambda kit, s: kit.face.VM(
            program=["no-such", "-object", f"secret,id=s,data={doubled(s)}"]
        ),
        shows="",
    ),
    "program that repeats": launched(
        lambda kit, s: kit.face.VM(
            program=[str(program(kit, r"""printf '%s\n' "qemu: what is $*" >&2""", "exit 1"))],
            args=["-object", f"secret,id=s,data={doubled(s)}"],
        )
    ),
    "attach": Door(lambda kit, s: kit.do(kit.face.VM.attach(f"/nowhere/password={doubled(s)}"))),
    "environment": Door(
        lambda kit, s: background_loop.run(_spawned(kit, s)),
        shows="the caller's own variables are passed on",
        spellings=FEW,
        face="async",
    ),
}


async def _spawned(kit: Kit, secret: str) -> None:
    process = await aio.AsyncProcess.spawn(
        ["sh", "-c", "exit 3"], env={"PATH": "/usr/bin:/bin", "RBD_SECRET": secret}
    )
    await process.wait()
    kit.shown.extend([process, process.argv, process.output()])
    await aio.AsyncProcess.spawn(["no-such"], env={"RBD_SECRET": secret})


OPTIONS: dict[str, Door] = {
    "from_json": Door(lambda kit, s: blockdev.from_json(https(s, bogus=1))),  # type: ignore[arg-type]
    "from_json, text": Door(lambda kit, s: blockdev.from_json(JSON(https(s))[:-1])),
    "from_json, two": Door(lambda kit, s: blockdev.from_json(JSON(https(s)) + "x")),
    "from_json, surrogate": Door(lambda kit, s: blockdev.from_json(https(f"{s}\ud800"))),  # type: ignore[arg-type]
    "from_json, NUL": Door(lambda kit, s: blockdev.from_json(https(f"{s}\0"))),  # type: ignore[arg-type]
    "from_filename": Door(lambda kit, s: blockdev.from_filename(json_name(s)[:-1])),
    "from_filename, URL": Door(lambda kit, s: blockdev.from_filename(url(s))),
    "from_filename, rbd": Door(lambda kit, s: blockdev.from_filename(f"rbd:pool:key={_rbd(s)}")),
    "from_blockdev": Door(
        lambda kit, s: blockdev.from_blockdev(f"driver=https,password={doubled(s)},bogus")
    ),
    "from_image_opts": Door(
        lambda kit, s: blockdev.from_image_opts(f"driver=https,cookie={doubled(s)},x.y=1")
    ),
    "explain": Door(
        lambda kit, s: kit.shown.append(blockdev.explain(Https(url=url(s), cookie=s))), fails=False
    ),
    "check": Door(lambda kit, s: blockdev.check(Https(url=url(s), cookie=s)), fails=False),
    "evolve": Door(
        lambda kit, s: Https(url=url(s), cookie=s).evolve(cookie=s, bogus=1)  # type: ignore[call-arg]
    ),
    "evolve, function": Door(lambda kit, s: evolve(Https(url=url(s)), cookie=s, bogus=1)),
    "with_backing": Door(
        lambda kit, s: kit.shown.append(
            blockdev.Qcow2(file=Https(url=url(s))).with_backing(Https(url=url(s), cookie=s))
        ),
        fails=False,
    ),
    "set": Door(lambda kit, s: setattr(Https(url=url(s)), "cookie", s)),
    "encode": Door(lambda kit, s: encode(Https(url=cast("str", {1}), cookie=s))),
    "decode": Door(lambda kit, s: decode(Https, {"url": 3, "cookie": s, "driver": "https"})),
    "keyval": Door(lambda kit, s: keyval({"password": s, "x": cast("str", {1})})),
    "chain": Door(lambda kit, s: blockdev.chain([Https(url=url(s)), cast("Https", https(s))])),
    "check, JSON": Door(lambda kit, s: blockdev.check(cast("Https", https(s)))),
    "check, refused": Door(lambda kit, s: blockdev.check(Https(url=url(s), cookie=cast("str", 3)))),
    "explain, JSON": Door(lambda kit, s: blockdev.explain(cast("Https", https(s)))),
    "assert_qmp": Door(lambda kit, s: Assertions().assert_qmp(secret_object(s), "data", "x")),  # type: ignore[arg-type]
    "assert_qmp_absent": Door(
        lambda kit, s: Assertions().assert_qmp_absent({"a": {"password": s}}, "a/password")
    ),
    "dictpath, no JSON": Door(
        lambda kit, s: dictpath(cast("JsonObject", {"password": s, "x": {1}}), "y")
    ),
    "assert_json_filename_equal": Door(
        lambda kit, s: Assertions().assert_json_filename_equal(json_name(s), {"cookie": s})
    ),
    "assert_json_filename_equal, a URL": Door(
        lambda kit, s: Assertions().assert_json_filename_equal(url(s), {})
    ),
    "to_python": Door(lambda kit, s: blockdev.to_python(https(s, bogus=1))),  # type: ignore[arg-type]
    "NbdUri": Door(lambda kit, s: NbdUri.parse(f"nbd://user:{s}@host/x")),
    "a value": Door(
        lambda kit, s: kit.shown.append(Https(url=url(s), cookie=s, proxy_username="u")),
        fails=False,
    ),
    "a value, bogus": Door(lambda kit, s: Https(url="u", cookie=s, bogus=1)),  # type: ignore[call-arg]
}

DOORS: dict[str, Door] = {
    **QMP,
    **{f"hmp {name}": hmp(line) for name, line in LINES.items()},
    **VERBS,
    **{f"image {name}": door for name, door in IMAGES.items()},
    **LAUNCHES,
    **OPTIONS,
}
