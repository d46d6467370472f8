"""Values of the wire and their JSON: what is there, what is not, what is secret."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.blockdev import NULL, File, NullCo, Qcow2, Raw
from qemu_blocksdk.codec import (
    JsonObject,
    JsonValue,
    Unknown,
    UnknownEvent,
    decode,
    decode_event,
    decode_reply,
    encode,
    redact,
)
from qemu_blocksdk.errors import BlockSdkError, UsageError
from qemu_blocksdk.wire import (
    BlockdevAdd,
    BlockdevBackup,
    BlockDeviceInfo,
    JobInfo,
    JobStatusChange,
    ObjectAdd,
    ObjectOptionsSecret,
    QueryJobs,
)

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_absent_null_and_value_are_three_things() -> None:
    def backing(options: Qcow2) -> object:
        return encode(options).get("backing", "absent")

    assert backing(Qcow2(file="f")) == "absent"
    assert backing(Qcow2(file="f", backing=None)) == "absent"
    assert backing(Qcow2(file="f", backing=NULL)) is None
    assert backing(Qcow2(file="f", backing="b")) == "b"


def test_false_zero_and_empty_are_values() -> None:
    assert encode(NullCo(node_name="", size=0, read_zeroes=False)) == {
        "driver": "null-co",
        "node-name": "",
        "size": 0,
        "read-zeroes": False,
    }


def test_a_boxed_command_is_its_argument() -> None:
    options = Raw(node_name="r", file=File(filename="f"))
    assert encode(BlockdevAdd(options=options)) == {
        "driver": "raw",
        "node-name": "r",
        "file": {"driver": "file", "filename": "f"},
    }


def test_a_value_is_frozen_and_compared_by_content() -> None:
    one, other = NullCo(node_name="n", size=1), NullCo(node_name="n", size=1)
    assert one == other
    assert hash(one) == hash(other)
    assert one != NullCo(node_name="n", size=2)
    with pytest.raises(AttributeError):
        one.size = 5  # type: ignore[misc]  # what the test is about
    with pytest.raises(AttributeError):
        delattr(one, "size")


def test_a_value_survives_copy_and_pickle() -> None:
    value = Qcow2(node_name="n", file=File(filename="f"), backing=NULL)
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value).backing is NULL


def test_a_misspelt_member_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="nodename"):
        NullCo(nodename="n")  # type: ignore[call-arg]  # what the test is about


@given(st.dictionaries(st.text(), values, max_size=6))
def test_any_object_decodes_to_a_job_and_keeps_what_is_not_known(json: JsonObject) -> None:
    known = {"id", "type", "status", "current-progress", "total-progress", "error"}
    job = decode(JobInfo, json)
    assert job.unknown_members == {k: v for k, v in json.items() if k not in known}


@given(values)
def test_any_data_of_an_event_is_decoded(data: JsonValue) -> None:
    event = decode_event(JobStatusChange, {"event": "JOB_STATUS_CHANGE", "data": data})
    assert isinstance(event, JobStatusChange if isinstance(data, dict) else UnknownEvent)


@given(values)
def test_any_reply_is_decoded_or_refused_as_ours(reply: JsonValue) -> None:
    with contextlib.suppress(BlockSdkError):
        decode_reply(QueryJobs(), reply)


def test_a_node_from_a_newer_qemu_keeps_its_unknown_branch() -> None:
    info = decode(
        BlockDeviceInfo,
        {
            "drv": "future",
            "image": {
                "filename": "f",
                "format": "future",
                "virtual-size": 1,
                "format-specific": {"type": "future", "data": {"x": 1}},
            },
        },
    )
    assert info.drv == "future"
    specific = info.image.format_specific
    assert isinstance(specific, Unknown)
    assert specific.tag == "future"
    assert specific.members == {"type": "future", "data": {"x": 1}}
    assert encode(specific) == specific.members


@pytest.mark.parametrize("member", [b"bytes", object(), {1, 2}, bytearray(b"x")])
def test_a_member_without_json_form_is_a_usage_error(member: object) -> None:
    with pytest.raises(UsageError, match="node_name") as caught:
        encode(NullCo(node_name=member))  # type: ignore[arg-type]  # wrong on purpose
    assert "\n" not in str(caught.value)


def test_options_nested_too_deeply_are_a_usage_error() -> None:
    options = Raw(file="f")
    for _ in range(5000):
        options = Raw(file=options)
    with pytest.raises(UsageError, match="nested too deeply"):
        encode(BlockdevAdd(options=options))


def test_a_secret_is_in_no_text() -> None:
    command = ObjectAdd(options=ObjectOptionsSecret(id="s", data="hush"))
    assert "hush" not in repr(command)
    assert "hush" not in json.dumps(redact(encode(command)))
    assert encode(command)["data"] == "hush"


@pytest.mark.parametrize(
    "message",
    [
        {"password": "hush"},
        {"a": [{"b": {"password": "hush"}}]},
        {"qom-type": "secret", "id": "s", "data": "hush"},
        {"options": {"qom-type": "secret", "data": "hush"}},
    ],
    ids=str,
)
def test_redaction_reaches_every_depth(message: JsonObject) -> None:
    assert "hush" not in json.dumps(redact(message))


def test_redaction_leaves_the_rest() -> None:
    message: JsonObject = {"data": {"x": 1}, "list": [1, "two", None], "node-name": "n"}
    assert redact(message) == message


def test_an_event_without_a_time_has_the_epochs() -> None:
    assert decode_event(JobStatusChange, {"event": "X", "data": {}}).timestamp == 0.0


def test_a_list_and_a_tuple_are_the_same_argument() -> None:
    def backup(mode: str) -> BlockdevBackup:
        return BlockdevBackup(device="d", target="t", sync="full", job_id=mode)

    assert backup("a") == backup("a")
    assert backup("a") != backup("b")
