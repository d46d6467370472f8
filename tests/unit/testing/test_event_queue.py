"""The queue of events, with a fake QEMU that sends them when the test wants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qemu_blocksdk import Qmp
from qemu_blocksdk.codec import JsonValue
from qemu_blocksdk.errors import CommandError, ConnectionLost, DeadlineExceeded
from qemu_blocksdk.testing.event_queue import QueuedQmp, event_match
from tests.unit.qmp.fake_server import Message, Server, event

A, B, C = event("A", {"id": 1}), event("B", {"id": 2}), event("A", {"id": 3})


def answer(server: Server, request: dict[str, object]) -> object:
    """Refuse one command, send events before the reply to another, else tell the arguments."""
    match request["execute"]:
        case "refused":
            error = {"class": "GenericError", "desc": "no"}
            server.send({"error": error, **({"id": request["id"]} if "id" in request else {})})
            return None
        case "noisy":
            server.send(A, B, C)
            return {}
        case _:
            return request.get("arguments", {})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answer) as running:
        yield running


@pytest.fixture
def queued(server: Server) -> Iterator[QueuedQmp]:
    with Qmp.connect(server.client) as qmp:
        yield QueuedQmp(qmp)


def test_a_reply_comes_whole_and_underscores_of_names_are_dashes(queued: QueuedQmp) -> None:
    nested = {"an_other": 1}
    assert queued.qmp("x", node_name=nested) == {"return": {"node-name": nested}}
    assert queued.qmp("x", conv_keys=False, node_name=1) == {"return": {"node_name": 1}}
    assert queued.command("x", a_b=None) == {"a-b": None}


def test_a_refusal_is_a_reply_of_qmp_and_an_error_of_command(queued: QueuedQmp) -> None:
    assert queued.qmp("refused") == {"error": {"class": "GenericError", "desc": "no"}}
    with pytest.raises(CommandError, match="no"):
        queued.command("refused")


def test_events_are_there_as_they_were_sent_when_the_command_returns(queued: QueuedQmp) -> None:
    for _ in range(100):
        queued.qmp("noisy")
        assert queued.get_qmp_events() == [A, B, C]
    assert queued.get_qmp_events() == []
    assert queued.get_qmp_event() is None


def test_one_event_is_the_first(queued: QueuedQmp) -> None:
    queued.qmp("noisy")
    assert [queued.get_qmp_event() for _ in range(4)] == [A, B, C, None]


@pytest.mark.parametrize("wait", [True, 5, 5.0])
def test_who_waits_gets_what_comes_later(queued: QueuedQmp, server: Server, wait: float) -> None:
    server.send(B)
    assert queued.get_qmp_events(wait=wait) == [B]
    server.send(C)
    assert queued.get_qmp_event(wait=wait) == C


def test_a_time_limit_of_waiting_is_an_error(queued: QueuedQmp) -> None:
    for wait in (0.01, 0.01):
        with pytest.raises(DeadlineExceeded, match=r"0\.01 s"):
            queued.get_qmp_events(wait=wait)
    assert queued.get_qmp_events(wait=0.0) == []


def test_what_does_not_match_stays_in_order(queued: QueuedQmp, server: Server) -> None:
    queued.qmp("noisy")
    assert queued.event_wait("B") == B
    assert queued.event_wait("A", match={"data": {"id": 3}}) == C
    server.send(B, C)
    assert queued.event_wait("A", match={"data": {"id": 3}}) == C
    assert queued.get_qmp_events(wait=True) == [A, B]


def test_of_several_wanted_the_first_to_arrive_is_taken(queued: QueuedQmp) -> None:
    queued.qmp("noisy")
    assert queued.events_wait([("A", {"data": {"id": 3}}), ("B", None)]) == B
    assert queued.events_wait([("B", None), ("A", None)]) == A


def test_timeout_0_takes_what_is_there_and_does_not_wait(queued: QueuedQmp) -> None:
    queued.qmp("noisy")
    assert queued.event_wait("B", timeout=0) == B
    assert queued.event_wait("B", timeout=0) is None
    assert queued.get_qmp_events() == [A, C]


def test_a_time_limit_says_what_was_waited_for_and_what_was_there(queued: QueuedQmp) -> None:
    queued.qmp("noisy")
    with pytest.raises(
        DeadlineExceeded,
        match=r"gave up on D or B \{'data': \{'id': 5\}\} \(there is A \(2 times\), B\)",
    ):
        queued.events_wait([("D", None), ("B", {"data": {"id": 5}})], timeout=0.05)
    assert queued.get_qmp_events() == [A, B, C]


def test_many_events_that_do_not_match_stay(queued: QueuedQmp, server: Server) -> None:
    for _ in range(10):
        server.send(*[A] * 100)
    with pytest.raises(DeadlineExceeded, match=r"A \(1000 times\)"):
        queued.event_wait("B", timeout=1.0)


def test_the_events_before_the_end_are_delivered_then_the_end_is_told(
    queued: QueuedQmp, server: Server
) -> None:
    server.send(A, B)
    server.hang_up()
    assert queued.event_wait("B") == B
    assert queued.get_qmp_events(wait=True) == [A]
    with pytest.raises(ConnectionLost):
        queued.get_qmp_events(wait=True)
    assert queued.get_qmp_events() == []


@pytest.mark.parametrize(
    ("of", "match", "does"),
    [
        (A, None, True),
        (A, {}, True),
        (A, {"event": "A"}, True),
        (A, {"event": None}, True),
        (A, {"nothing": None}, False),
        (A, {"data": {"id": 1}}, True),
        (A, {"data": {"id": 2}}, False),
        (A, {"data": {"id": {"x": 1}}}, False),
        (A, {"data": 1}, False),
        ({"list": [1, 2]}, {"list": [1, 2]}, True),
        ({"list": [1, 2]}, {"list": [1]}, False),
        ("text", "text", True),
        ("text", {"t": 1}, False),
    ],
)
def test_a_match_is_part_of_what_it_matches(of: Message, match: JsonValue, does: bool) -> None:
    assert event_match(of, match) is does  # type: ignore[arg-type]  # a message of the fake
