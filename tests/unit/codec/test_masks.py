"""What must never be shown."""

from __future__ import annotations

import pytest

from qemu_blocksdk.blockdev import Https
from qemu_blocksdk.codec import encode, masked, masked_words, redact
from qemu_blocksdk.wire import ObjectAdd, ObjectOptionsSecret, QomSet

SECRET = "hunter2"


@pytest.mark.parametrize(
    "value",
    [
        ObjectAdd(options=ObjectOptionsSecret(id="s", data=SECRET)),
        QomSet(path="/objects/s", property="data", value=SECRET),
        Https(url=f"https://user:{SECRET}@host/disk", cookie=SECRET),
    ],
)
def test_neither_repr_nor_redacted_json_shows_a_secret(value: ObjectAdd | QomSet | Https) -> None:
    assert SECRET in str(encode(value))
    assert SECRET not in repr(value)
    assert SECRET not in str(redact(encode(value), of=type(value).__name__))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("object-add", {"qom-type": "secret", "id": "s", "props": {"data": SECRET}}),
        ("qom-set", {"path": "/objects/s", "property": "data", "value": SECRET}),
        ("human-monitor-command", {"command-line": f"object_add secret,id=s,data={SECRET}"}),
        ("blockdev-add", {"driver": "https", "url": f"https://u:{SECRET}@h", "password": SECRET}),
        ("blockdev-add", {"file": {"proxy-password": SECRET}}),
        ("drive", {"file.cookie": SECRET}),
        ("drive-mirror", {"target": f'json:{{"driver":"ssh","password":"{SECRET}"}}'}),
    ],
)
def test_raw_arguments_are_redacted_too(command: str, arguments: dict[str, object]) -> None:
    assert SECRET not in str(redact(arguments, of=command))


def test_a_command_line_is_shown_without_its_secrets() -> None:
    words = ["qemu", "-object", f"secret,id=s,data={SECRET},format=raw", f"password={SECRET}"]
    assert masked_words(words) == (
        "qemu",
        "-object",
        "secret,id=s,data=***,format=raw",
        "password=***",
    )


@pytest.mark.parametrize(
    "text",
    [
        "file.filename=/data=1/disk.qcow2",
        "nbd://localhost:10809/disk@home",
        "https://host:8080/path",
        "-object iothread,id=io0",
        '{"password-secret": "sec0"}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_other_members_stay() -> None:
    json = {"data": "a", "key-secret": "s0", "list": [{"data": 1}, None, True]}
    assert redact(json) == json
