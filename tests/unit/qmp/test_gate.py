"""The version gate with servers that are older or newer than, or different from, the snapshots."""

from __future__ import annotations

import json

import pytest

from qemu_blocksdk import Qmp
from qemu_blocksdk.blockdev import File, NullCo, Qcow2
from qemu_blocksdk.codec import Command
from qemu_blocksdk.errors import CommandError, Unsupported, UsageError
from qemu_blocksdk.schema import snapshots
from qemu_blocksdk.wire import (
    BlockdevAdd,
    BlockdevDel,
    BlockLatencyHistogramSet,
    QueryBlockExports,
    QueryJobs,
    QueryNamedBlockNodes,
)
from tests.unit.qmp.fake_server import Message, Server

pytestmark = pytest.mark.timeout(20)


def _entries(name: str = "storage-daemon-7.2") -> list[dict[str, object]]:
    text = (snapshots.DIRECTORY / f"{name}.json").read_text()
    entries: list[dict[str, object]] = json.loads(text)["schema"]
    return entries


def _without_command(*names: str) -> list[dict[str, object]]:
    return [entry for entry in _entries() if entry["name"] not in names]


def _server(
    schema: list[dict[str, object]], version: tuple[int, int, int], refuse: Message | None = None
) -> Server:
    """Return a server with this schema, which answers queries with lists."""

    def answer(server: Server, request: dict[str, object]) -> object:
        name = str(request["execute"])
        if name == "query-qmp-schema":
            return schema
        if refuse is not None and name not in ("query-qmp-schema",):
            server.send({"error": refuse} | ({"id": request["id"]} if "id" in request else {}))
            return None
        return [] if name.startswith("query") else {}

    return Server(answer, version=version, stream=True)  # a packet would lose what does not fit


@pytest.mark.parametrize("version", [(5, 2, 0), (99, 0, 0), (7, 1, 90)])
def test_a_server_without_snapshot_is_asked_for_its_schema_once(
    version: tuple[int, int, int],
) -> None:
    with _server(_entries(), version) as server, Qmp.connect(server.client) as qmp:
        for _ in range(3):
            assert qmp.execute(QueryJobs()) == []
            qmp.execute(BlockdevAdd(options=NullCo(node_name="n")))
    assert server.commands.count("query-qmp-schema") == 1
    assert server.commands.count("query-jobs") == 3


def test_a_server_of_a_snapshots_version_is_asked_for_nothing() -> None:
    with _server([], (7, 2, 3)) as server, Qmp.connect(server.client) as qmp:
        qmp.execute(QueryJobs())
        qmp.execute(BlockdevAdd(options=NullCo(node_name="n")))
    assert server.commands == ["query-jobs", "blockdev-add"]


def test_a_command_that_an_old_server_lacks_is_not_sent() -> None:
    schema = _without_command("query-block-exports")
    with _server(schema, (5, 2, 0)) as server, Qmp.connect(server.client) as qmp:
        with pytest.raises(Unsupported, match="query-block-exports"):
            qmp.execute(QueryBlockExports())
        with pytest.raises(Unsupported) as caught:
            qmp.execute(QueryBlockExports())
        qmp.execute(QueryJobs())
    assert caught.value.available_in == snapshots.available()
    assert "\n" not in str(caught.value)
    assert server.commands == ["query-qmp-schema", "query-jobs"]


NEWER = ("storage-daemon-10.0", "system-10.0", "storage-daemon-11.1", "system-11.1")
NEW_MEMBER = BlockdevAdd(
    options=Qcow2(node_name="n", file=File(filename="f"), discard_no_unref=True)
)


@pytest.mark.parametrize("version", [(5, 2, 0), (7, 2, 22)])
def test_a_member_that_the_server_lacks_is_not_sent(version: tuple[int, int, int]) -> None:
    with _server(_entries(), version) as server, Qmp.connect(server.client) as qmp:
        with pytest.raises(Unsupported, match="discard-no-unref"):
            qmp.execute(NEW_MEMBER)
        with pytest.raises(Unsupported) as caught:
            qmp.execute(NEW_MEMBER)
    assert caught.value.available_in == NEWER
    assert server.commands == ["query-qmp-schema"]


def test_where_the_command_is_not_known_its_member_is_not_either() -> None:
    command = BlockLatencyHistogramSet(id="disk", boundaries_zap=[1])
    with (
        _server(_entries("system-7.2"), (7, 2, 22)) as server,
        Qmp.connect(server.client) as qmp,
        pytest.raises(Unsupported, match="boundaries-zap") as caught,
    ):
        qmp.execute(command)
    assert caught.value.available_in == ("system-10.0", "system-11.1")


def test_a_member_that_a_patched_server_has_is_sent() -> None:
    """A 7.2 with backported features: its own schema decides, not the snapshot."""
    schema = _entries("storage-daemon-10.0")
    with _server(schema, (7, 2, 22)) as server, Qmp.connect(server.client) as qmp:
        qmp.execute(NEW_MEMBER)
        qmp.execute(NEW_MEMBER)
    assert server.commands == ["query-qmp-schema", "blockdev-add", "blockdev-add"]


@pytest.mark.parametrize("version", [(7, 2, 0), (99, 0, 0)])
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (BlockdevDel(node_name=5), "expected string, found int"),  # type: ignore[arg-type]  # wrong on purpose
        (QueryNamedBlockNodes(flat="yes"), "expected boolean"),  # type: ignore[arg-type]  # wrong on purpose
        (BlockdevAdd(options=NullCo(node_name="n", size="1M")), "expected int"),  # type: ignore[arg-type]  # wrong on purpose
        (BlockdevAdd(options=NullCo(node_name="n", size=True)), "expected int"),
        (BlockdevAdd(options=NullCo(node_name="n", size=1.5)), "expected int"),  # type: ignore[arg-type]  # wrong on purpose
        (BlockdevAdd(options=NullCo(discard="perhaps")), "'perhaps' is none of"),  # type: ignore[arg-type]  # wrong on purpose
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_of_the_wrong_type_is_a_usage_error(
    version: tuple[int, int, int], command: Command[None], words: str
) -> None:
    with (
        _server(_entries(), version) as server,
        Qmp.connect(server.client) as qmp,
        pytest.raises(UsageError, match=words) as caught,
    ):
        qmp.execute(command)
    assert "\n" not in str(caught.value)
    assert set(server.commands) <= {"query-qmp-schema"}


def test_a_refusal_for_what_the_build_lacks_is_unsupported() -> None:
    """A 7.2 that was built without a command: the snapshot allows it, the server refuses it."""
    refuse = {
        "class": "CommandNotFound",
        "desc": "The command query-block-exports has not been found",
    }
    schema = _without_command("query-block-exports")
    with _server(schema, (7, 2, 0), refuse) as server, Qmp.connect(server.client) as qmp:
        with pytest.raises(Unsupported, match="query-block-exports"):
            qmp.execute(QueryBlockExports())
        with pytest.raises(Unsupported):
            qmp.execute(QueryBlockExports())
    assert server.commands == ["query-block-exports", "query-qmp-schema"]


def test_a_refusal_for_another_reason_stays_a_command_error() -> None:
    refuse = {"class": "GenericError", "desc": "Parameter 'node-name' is odd"}
    with (
        _server(_entries(), (7, 2, 0), refuse) as server,
        Qmp.connect(server.client) as qmp,
        pytest.raises(CommandError, match="is odd"),
    ):
        qmp.execute(BlockdevDel(node_name="x"))


def test_a_raw_command_is_sent_whatever_the_schema_says() -> None:
    with _server([], (99, 0, 0)) as server, Qmp.connect(server.client) as qmp:
        assert qmp.execute_raw("brand-new", {"x": 1}) == {}
    assert server.commands == ["brand-new"]
