"""What must never be shown."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qemu_blocksdk.blockdev import Https
from qemu_blocksdk.codec import (
    doubled,
    encode,
    masked,
    masked_args,
    redact,
    secrets_in,
    secrets_in_args,
)
from qemu_blocksdk.errors import DeadlineExceeded, StateError
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
    assert masked_args(words) == (
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


HARD = (
    "a,,b HUNT",
    "a b HUNT",
    'a"HUNT',
    "a'HUNT",
    "a\\\\HUNT",
    'a\\\\"}, "HUNT',
    "p@HUNT",
    "p/HUNT",
    "p@/?#HUNT",
)
"""Secrets with what ends a value in one form or another; each has a word that must not show."""


def taken(secret: str) -> str:
    """As a part of a name of rbd."""
    return secret.replace("\\", "\\\\").replace(":", "\\:")


JSON_DOORS: Mapping[str, tuple[str, Callable[[str], dict[str, object]]]] = {
    "cookie": ("blockdev-add", lambda s: {"driver": "https", "file": {"cookie": s}}),
    "proxy": ("blockdev-add", lambda s: {"proxy-password": s}),
    "dotted": ("blockdev-add", lambda s: {"file.password": s}),
    "json name": ("change", lambda s: {"filename": "json:" + json.dumps({"cookie": s})}),
    "nested": ("x", lambda s: {"a": ["json:" + json.dumps({"b": json.dumps({"password": s})})]}),
    "escaped": ("x", lambda s: {"a": 'json:{"c\\u006fokie":' + json.dumps(s) + "}"}),
    "secret": ("object-add", lambda s: {"qom-type": "secret", "id": "s", "data": s}),
    "props": ("object-add", lambda s: {"qom-type": "secret", "props": {"data": s}}),
    "qom-set": ("qom-set", lambda s: {"path": "/x", "property": "data", "value": s}),
    "set_password": ("set_password", lambda s: {"protocol": "vnc", "password": s}),
    "whole url": ("x", lambda s: {"url": f"https://user:{s}@host/disk"}),
    "rbd": ("x", lambda s: {"=keyvalue-pairs": json.dumps(["key", s])}),
    "rbd name": ("x", lambda s: {"filename": f"rbd:p/i:key={taken(s)}:id=a"}),
    "elsewhere as well": ("x", lambda s: {"password": s, "a": [f"see {s} there"]}),
    "number": ("x", lambda s: {"password": [1, {"a": s}]}),
}
LINES: Mapping[str, Callable[[str], str]] = {
    "set_password": lambda s: f"set_password vnc {s}",
    "set_password -d": lambda s: f"set_password -d d0 spice {s} keep",
    "change": lambda s: f"change vnc password {s}",
    "object_add": lambda s: f"object_add secret,id=s,data={s.replace(',', ',,')}",
    "qom-set": lambda s: f"qom-set /objects/s data {s}",
    "change, in quotes": lambda s: f'change "vnc" "password" {s}',
    "object_add, type last": lambda s: f"object_add id=s,data={doubled(s)},qom-type=secret",
    "drive_add": lambda s: f"drive_add 0 driver=https,file.cookie={s.replace(',', ',,')},id=d",
}
ARGS: Mapping[str, Callable[[str], list[str]]] = {
    "object": lambda s: ["--object", f"secret,id=s,data={s.replace(',', ',,')},format=raw"],
    "object=": lambda s: [f"--object=secret,id=s,data={s.replace(',', ',,')}"],
    "object type": lambda s: ["-object", f"id=s,data={s.replace(',', ',,')},qom-type=secret"],
    "json": lambda s: ["--object", json.dumps({"qom-type": "secret", "data": s})],
    "json=": lambda s: ["--object=" + json.dumps({"qom-type": "secret", "data": s})],
    "image-opts": lambda s: ["driver=https,file.password=" + s.replace(",", ",,")],
    "name": lambda s: ["json:" + json.dumps({"driver": "https", "cookie": s})],
    "name in option": lambda s: ["file=json:" + json.dumps({"cookie": s}).replace(",", ",,")],
    "url": lambda s: [f"https://user:{s}@host/disk"],
    "url in option": lambda s: [f"file=https://user:{s.replace(',', ',,')}@host/disk,if=none"],
    "password": lambda s: [f"--password={s}"],
}
TEXTS: Mapping[str, Callable[[str], str]] = {
    "json": lambda s: f"failed at {json.dumps({'password': s, 'x': 1})}: no",
    "json in json": lambda s: f"failed at {json.dumps({'f': json.dumps({'password': s})})}: no",
    "json in repr": lambda s: f"failed at {json.dumps({'password': s})!r}: no",
    "python": lambda s: f"failed at { ({'cookie': s})!r}: no",
    "cut": lambda s: "failed at json:" + json.dumps({"driver": "https", "cookie": s})[:-2],
    "object": lambda s: f"-object secret,id=s,data={s.replace(',', ',,')}: no",
}


@pytest.mark.parametrize("secret", HARD)
@pytest.mark.parametrize("door", JSON_DOORS)
def test_no_json_shows_a_secret(door: str, secret: str) -> None:
    command, make = JSON_DOORS[door]
    assert "HUNT" not in json.dumps(redact(make(secret), of=command))


@pytest.mark.parametrize("secret", HARD)
@pytest.mark.parametrize("door", LINES)
def test_no_line_of_the_human_monitor_shows_a_secret(door: str, secret: str) -> None:
    line = LINES[door](secret)
    assert "HUNT" not in masked(line)
    assert "HUNT" not in str(redact({"command-line": line}, of="human-monitor-command"))


@pytest.mark.parametrize("secret", HARD)
@pytest.mark.parametrize("door", ARGS)
def test_no_command_line_shows_a_secret(door: str, secret: str) -> None:
    args = ARGS[door](secret)
    assert "HUNT" not in shlex.join(masked_args(args))


@pytest.mark.parametrize("secret", HARD)
@pytest.mark.parametrize("door", TEXTS)
def test_no_text_shows_a_secret(door: str, secret: str) -> None:
    assert "HUNT" not in masked(TEXTS[door](secret))


@pytest.mark.parametrize("secret", ["pHUNT", "p@HUNT", "p/HUNT", "p@/HUNT", "p%40HUNT", 'p"HUNT'])
@pytest.mark.parametrize(
    "text", ["{}", "Could not open '{}': no", 'json:{{"url": "{}"}}', "at {},"]
)
def test_no_text_shows_the_password_or_token_of_a_url(text: str, secret: str) -> None:
    assert "HUNT" not in masked(text.format(f"https://user:{secret}@host:80/disk?a=1#x"))
    assert "HUNT" not in masked(text.format(f"https://:{secret}@host/disk"))
    assert "HUNT" not in masked(text.format(f"iscsi://user%{secret}@host/iqn/0"))


@pytest.mark.parametrize("secret", ["p HUNT", 'p"}, "HUNT', "p\tHUNT @HUNT"])
def test_a_password_with_spaces_in_a_text_ends_at_the_last_at_sign_of_its_line(secret: str) -> None:
    text = f"a b@c\nCould not open 'http://user:{secret}@host:80/disk': no\nd e@f"
    assert masked(text) == "a b@c\nCould not open 'http://user:***@host:80/disk': no\nd e@f"


def test_an_address_after_a_url_without_a_password_stays() -> None:
    text = "see http://host:80/disk or http://host/x: write to me@home"
    assert masked(text) == text


@pytest.mark.parametrize(
    "name",
    [
        *("sig", "token", "access_token", "X-Amz-Signature", "X-Amz-Security-Token"),
        *("X-Amz-Credential", "X-Goog-Signature", "Signature", "Policy", "api_key", "apikey"),
        *("password", "auth", "AWSAccessKeyId"),
    ],
)
def test_no_token_in_a_query_shows(name: str) -> None:
    url = f"https://host/disk?x=1&{name}=HUNT%3D&y=2"
    for shown in (masked(url), masked(f"Could not open '{url}': no"), str(redact({"url": url}))):
        assert "HUNT" not in shown
        assert "x=1" in shown
        assert "y=2" in shown


@given(st.text(min_size=4), st.sampled_from(sorted(JSON_DOORS)))
def test_what_is_found_by_structure_is_hidden_in_any_text_about_it(secret: str, door: str) -> None:
    mark = "\N{SNOWMAN}mark\N{SNOWMAN}"  # in no other text
    command, make = JSON_DOORS[door]
    arguments = make(secret + mark)
    known = secrets_in(arguments, of=command)
    if door not in ("rbd", "number", "whole url"):
        assert mark not in masked(f"cannot open {secret}{mark}: failed", known=known)
    assert "SNOWMAN" not in json.dumps(redact(arguments, of=command))


@pytest.mark.parametrize("secret", HARD)
def test_what_a_command_line_held_is_hidden_in_what_the_tool_says(secret: str) -> None:
    for make in ARGS.values():
        known = secrets_in_args(make(secret))
        for said in (f"qemu-img: no {secret} here", f"qemu-img: no {secret.replace(',', ',,')}"):
            if known:
                assert "HUNT" not in masked(said, known=known)


def test_the_text_after_a_known_secret_stays_readable() -> None:
    args = ["qemu-img", "--object", "secret,id=s,data=hunter two"]
    said = "qemu-img: --object secret,id=s,data=hunter two: no such type"
    shown = masked(said, known=secrets_in_args(args))
    assert shown == "qemu-img: --object secret,id=s,data=***: no such type"


@pytest.mark.parametrize(
    "text",
    [
        'failed at {"pass\\u0077ord": "HUNT"}: no',
        "https://h/x?%70assword=HUNT&y=1",
        "https://h/x?next=https://u:HUNT@h/",
        'password = "HUNT"',
    ],
)
def test_a_name_may_be_spelled_in_other_ways(text: str) -> None:
    assert "HUNT" not in masked(text)
    assert "HUNT" not in str(redact({"x": text}))
    assert "HUNT" not in str(masked_args([text]))


def test_a_message_says_itself_which_command_it_is() -> None:
    arguments = {"path": "/objects/s", "property": "data", "value": SECRET}
    message = {"execute": "qom-set", "arguments": arguments}
    assert SECRET not in str(redact(message))
    assert SECRET not in str(redact({"text": json.dumps(message)}))


@pytest.mark.parametrize("command", ["qom-set", "set_password"])
def test_what_is_said_of_a_command_stays(command: str) -> None:
    for error in (
        DeadlineExceeded(f"the reply to {command}", seconds=0.5),
        StateError("throttle group 'tg': removed", verb=command),
    ):
        assert "*" not in str(error)
