"""A reply that contradicts the schema is an error of the tree, which names the path."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from qemu_blocksdk.codec import JsonObject, JsonValue, decode, decode_reply
from qemu_blocksdk.errors import MalformedReply
from qemu_blocksdk.wire import JobInfo, QueryBlock, QueryJobs, QueryVersion
from tests.fuzz.replies import fuzz_replies

_JOB: JsonObject = {"id": "j", "type": "backup", "status": "running", "current-progress": 1}


@pytest.mark.parametrize(
    ("reply", "path", "expected"),
    [
        ({}, "query-jobs", "a list"),
        (None, "query-jobs", "a list"),
        ([None], r"query-jobs\[0\]", "an object"),
        ([_JOB, "x"], r"query-jobs\[1\]", "an object"),
        ([{**_JOB, "id": 5}], r"query-jobs\[0\].id", "a string"),
        ([_JOB, {**_JOB, "current-progress": True}], r"\[1\].current-progress", "an integer"),
        ([{**_JOB, "current-progress": 1.5}], r"query-jobs\[0\].current-progress", "an integer"),
    ],
)
def test_what_is_of_another_kind_is_named(reply: JsonValue, path: str, expected: str) -> None:
    with pytest.raises(MalformedReply, match=f"{path}: expected {expected}"):
        decode_reply(QueryJobs(), reply)


def test_the_path_leads_through_everything() -> None:
    image: JsonValue = {"filename": "f", "format": "qcow2", "virtual-size": "big"}
    reply: JsonValue = [{"device": "", "inserted": {"image": {"backing-image": image}}}]
    with pytest.raises(MalformedReply) as caught:
        decode_reply(QueryBlock(), reply)
    assert caught.value.path == "query-block[0].inserted.image.backing-image.virtual-size"
    assert (caught.value.expected, caught.value.found) == ("an integer", "a string")


def test_what_is_missing_is_told_by_whoever_reads_it() -> None:
    job = decode(JobInfo, {"id": "j", "type": "backup", "new-in-12": [1]})
    assert job.id == "j"
    assert job.error is None
    assert job.unknown_members == {"new-in-12": [1]}
    assert "JobInfo(id='j', type='backup'" in repr(job)
    for _ in range(2):
        with pytest.raises(MalformedReply, match=r"JobInfo\.current_progress: .* found nothing"):
            _ = job.current_progress
    assert copy.copy(job) == job == pickle.loads(pickle.dumps(job))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = job.nonsense  # type: ignore[attr-defined]


def test_deep_nesting_is_an_error_as_well() -> None:
    image: JsonValue = {"filename": "f"}
    for _ in range(3000):
        image = {"backing-image": image}
    with pytest.raises(MalformedReply, match="nested too deeply"):
        decode_reply(QueryBlock(), [{"inserted": {"image": image}}])


def test_a_null_where_something_may_be_absent_is_absent() -> None:
    assert decode(JobInfo, {**_JOB, "error": None}).error is None
    with pytest.raises(MalformedReply, match=r"query-version\.qemu: expected an object"):
        decode_reply(QueryVersion(), {"qemu": None, "package": ""})


@pytest.mark.timeout(60)
def test_a_short_fuzz_finds_nothing(tmp_path: Path) -> None:
    assert fuzz_replies(tmp_path, seconds=1.0, seed=1) > 0
