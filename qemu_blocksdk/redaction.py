"""Redaction: what a repr, a log or an error must never show.

Three inputs, three functions: JSON (:func:`redact`), a command line (:func:`masked_args`), and a
text of no known structure (:func:`masked`). The first two follow the structure, so a value may
hold anything. A text has no such borders: there, too much is hidden rather than too little. What
is found by structure is therefore looked for in all else that the JSON or the command line says,
and in the texts about it (``known``).

All take time in proportion to the length of their input.
"""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Iterable, Mapping
from typing import Final, cast
from urllib.parse import quote, unquote

_MASK: Final = "***"
_SHORTEST: Final = 4
"""A shorter value is hidden where it stands, but not looked for elsewhere: it is in any word."""

_ENDINGS = ("password", "passwd", "passphrase")
_MEMBERS = ("cookie", "keyvalue-pairs")
_NAME = rf"[\w.-]*(?:{'|'.join((*_ENDINGS, *_MEMBERS))})"

# No pattern may start at each character of a run that it has to read to its end.
_MEMBER = re.compile(
    rf"""["']=?(?:{_NAME}|(?P<maybe>data|value))\\*["']\s*:\s*b?""",
    re.IGNORECASE,
)
_QUOTE = re.compile(r"""(\\*)(["'])""")
_AFTER_STRING = re.compile(r"""\s*(?:[,:}\])]|\\*["']|\Z)""")
_SCALAR = re.compile(r"[^\s,}\]]*")
_OPTION = re.compile(rf"(?<![\w.-])(?:{_NAME}|(?P<maybe>data))[ \t]?=", re.IGNORECASE)
_OPTION_VALUE = re.compile(r"(?:[^,\n]++|,,)*+")
_LONG_OPTION = re.compile(r"--?([\w.-]+)=")
_PART = re.compile(r"(?:[^,]++|,,)*+")
# What our own errors say of a command is no line of it.
_SAID = r"(?! (?:is not possible any more|after [\d.e+-]+ s\b))"
_MONITOR_LINE = re.compile(
    rf"\b(?:set_password{_SAID}[ \t]+(?:-d[ \t]*\S+[ \t]+)?(?:(?:vnc|spice)[ \t]+)?"
    r"|change[ \t]+\S+[ \t]+[\\\"']*passw(?:or)?d[\\\"']*[ \t]+"
    r"|block_passwd[ \t]+\S+[ \t]+"
    rf"|qom-set{_SAID}[ \t]+\S+[ \t]+\S+[ \t]+)(?P<value>[^\n]+)"
)
_URL = re.compile(r"://(?P<rest>(?:(?!://)\S)+)")
_WHOLE_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_USER = re.compile(r"""[^/?#@:%"']*""")
_PORT = re.compile(r"""\d{1,5}(?![^/?#"'\\,;)\]}>])""")
_QUERY = re.compile(r"""(?<=[?&;#])([\w.%~-]+)=([^&#\s"'\\]*)""")
_WHOLE_QUERY = re.compile(r"(?<=[?&;#])([\w.%~-]+)=([^&#]*)")
_QUERY_SECRET = re.compile(
    r"(?:^|[-_.])(?:sig|key|code|jwt|sas|hmac|pw|pwd|pass|auth|policy)$"
    r"|token|secret|passw|passphrase|credential|signature|api_?key|access_?key|authorization"
    r"|session",
    re.IGNORECASE,
)
_RBD = re.compile(r"""\brbd:[^\s"']+""")
_RBD_SECRET = re.compile(r"(?<=:)((?:[\w-]*key|[\w-]*secret|password)=)((?:[^:\\]|\\.)*)")
_SPELLED = re.compile(r"\\u00(2d|5f|[46][1-9a-f]|[57][0-9a])", re.IGNORECASE)
"""A letter of a name in JSON, written as an escape."""
_TAKEN = re.compile(r"\\(.)", re.DOTALL)
_CAN_HOLD_ONE = re.compile(r"[=: ]")


def is_secret(member: str, *, of: str) -> bool:
    """Return whether a member's value must never be shown; ``of`` names its object or command.

    A member of a member has a dotted name (``file.cookie``).
    """
    name = member.rpartition(".")[2].lower().lstrip("=")
    kind = of.lower().replace("-", "")
    return (
        name.endswith(_ENDINGS)
        or name in _MEMBERS
        or (name == "data" and "secret" in kind)
        or (name == "value" and kind == "qomset")
        or (name == "secret" and kind == "sevinjectlaunchsecret")
    )


def redact(json: object, *, of: str = "", known: Iterable[str] = ()) -> object:
    """Return JSON with its secrets replaced, ``known`` ones and others.

    ``of`` names the command that it belongs to.
    """
    found: set[str] = set()
    redacted = _redacted(json, of, found)
    also = {*known, *_worth_hiding(found)}
    return _redacted(redacted, of, set(), also) if also else redacted


def secrets_in(json: object, *, of: str = "") -> frozenset[str]:
    """Return the secrets that JSON holds: what no text about it may quote."""
    found: set[str] = set()
    _redacted(json, of, found)
    return _worth_hiding(found)


def secrets_in_args(args: Iterable[str]) -> frozenset[str]:
    """Return the secrets that a command line holds: what no text about it may quote."""
    found: set[str] = set()
    for arg in args:
        _argument(arg, found)
    return _worth_hiding(found)


def masked_args(args: Iterable[str]) -> tuple[str, ...]:
    """Return a command line with its secrets replaced."""
    found: set[str] = set()
    masked_ones = [_argument(arg, found) for arg in args]
    known = _worth_hiding(found)
    return tuple(_without(arg, known) for arg in masked_ones)


def masked(text: str, *, known: Iterable[str] = ()) -> str:
    """Return the text with the secrets that it shows replaced, ``known`` ones and others."""
    return _text(_without(text, known), set())


def _without(text: str, known: Iterable[str]) -> str:
    for secret in sorted(known, key=len, reverse=True):
        forms = {
            *(secret, repr(secret)[1:-1], secret.replace(",", ",,")),
            *(json_module.dumps(secret, ensure_ascii=each)[1:-1] for each in (False, True)),
            quote(secret, errors="replace"),
        }
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, _MASK)
    return text


def _worth_hiding(found: Iterable[str]) -> frozenset[str]:
    return frozenset(value for value in found if len(value) >= _SHORTEST and value != _MASK)


# -- by structure -----------------------------------------------------------------------------


def _redacted(json: object, of: str, found: set[str], known: Iterable[str] = ()) -> object:
    """Replace; add what was replaced to ``found``. Does not recurse: JSON may be deep."""
    root: dict[object, object] = {}
    todo: list[tuple[object, str, dict[object, object] | list[object], object]]
    todo = [(json, of, root, "")]
    while todo:
        value, kind, into, key = todo.pop()
        copy: object = value
        if isinstance(value, Mapping):
            members = cast("Mapping[object, object]", value)
            kind = str(members.get("qom-type", members.get("execute", kind)))
            branch: dict[object, object] = dict(members)
            copy = branch
            for name, member in members.items():
                if is_secret(str(name), of=kind):
                    _collect(member, found)
                    branch[name] = _MASK
                else:
                    todo.append((member, kind, branch, name))
        elif isinstance(value, list | tuple):
            items = list(cast("list[object]", value))
            copy = items
            todo += [(item, kind, items, number) for number, item in enumerate(items)]
        elif isinstance(value, str):
            copy = _leaf(_without(value, known), found)
        cast("dict[object, object]", into)[key] = copy
    return root[""]


def _collect(secret: object, found: set[str]) -> None:
    if isinstance(secret, str):
        found.add(secret)


def _leaf(text: str, found: set[str]) -> str:
    """Redact a text that is a value: a name of JSON, a URL, or no more than a text."""
    scheme = "json:" if text.startswith("json:") else ""
    if scheme or text.startswith(("{", "[")):
        try:
            value: object = json_module.loads(text.removeprefix(scheme))
        except (ValueError, RecursionError):
            return _text(text, found)  # with single quotes, or cut off
        redacted = _redacted(value, "", found)
        return text if redacted == value else scheme + json_module.dumps(redacted)
    url = _WHOLE_URL.match(text)
    if url is not None:
        rest = _after_scheme(text[: url.end()], text[url.end() :], found, True)
        return text[: url.end()] + _text(rest, found)  # another URL may be in its query
    if text.startswith("rbd:"):
        return _without_keys(text, found)
    return _text(text, found)


def _without_keys(name: str, found: set[str]) -> str:
    """Replace the keys in a name of rbd, in which a backslash takes the next character as it is."""

    def less_key(part: re.Match[str]) -> str:
        found.add(_TAKEN.sub(r"\1", part[2]))
        return f"{part[1]}{_MASK}"

    return _RBD_SECRET.sub(less_key, name)


def _argument(arg: str, found: set[str]) -> str:
    """Redact one argument of a command line."""
    lead = ""
    if option := _LONG_OPTION.match(arg):
        lead, arg = option[0], arg[option.end() :]
        if is_secret(option[1], of=""):
            found.add(arg)
            return f"{lead}{_MASK}"
    if "=" in arg and not arg.startswith(("json:", "{")) and not _WHOLE_URL.match(arg):
        parts = list(_parts(arg))
        kind = next((part[9:] for part in parts if part.startswith("qom-type=")), parts[0])
        return lead + _text(",".join(_part(part, kind, found) for part in parts), found)
    return lead + _leaf(arg, found)


def _parts(arg: str) -> Iterable[str]:
    """Split at the commas that are not doubled."""
    begin = 0
    while begin <= len(arg):
        end = cast("re.Match[str]", _PART.match(arg, begin)).end()
        yield arg[begin:end]
        begin = end + 1


def _part(part: str, kind: str, found: set[str]) -> str:
    name, equals, value = part.partition("=")
    if not equals:
        return part
    value = value.replace(",,", ",")
    if is_secret(name, of=kind):
        found.add(value)
        return f"{name}={_MASK}"
    redacted = _leaf(value, found)
    return part if redacted == value else f"{name}={redacted.replace(',', ',,')}"


# -- without ----------------------------------------------------------------------------------


def _text(text: str, found: set[str]) -> str:
    if not _CAN_HOLD_ONE.search(text):
        return text
    if "\\u00" in text:
        text = _SPELLED.sub(lambda code: chr(int(code[1], 16)), text)
    text = _without_members(text, found)
    text = _RBD.sub(lambda name: _without_keys(name[0], found), text)
    text = _without_passwords(text, found)
    text = _without_options(text, found)
    return _MONITOR_LINE.sub(lambda line: _less_value(line, found), text)


def _without_passwords(text: str, found: set[str]) -> str:
    """Replace the passwords of URLs; one with spaces in it ends at the last ``@`` of its line."""
    done: list[str] = []
    begin = line_end = last_at = 0
    while (url := _URL.search(text, begin)) is not None:
        if url.start() >= line_end:
            line_end = text.find("\n", url.start())
            line_end = len(text) if line_end < 0 else line_end
            last_at = text.rfind("@", url.start(), line_end)
        scheme = text[max(0, url.start() - 12) : url.start()]
        end = url.end()
        if "@" not in url["rest"] and last_at > end and _password(scheme, url["rest"]) >= 0:
            end = last_at + 1
        rest = text[url.start("rest") : end]
        done += (text[begin : url.start("rest")], _after_scheme(scheme, rest, found, False))
        begin = end
    return "".join((*done, text[begin:]))


def _less_value(found_line: re.Match[str], found: set[str]) -> str:
    if found_line["value"] != _MASK:
        found.add(found_line["value"])
    return found_line[0][: found_line.start("value") - found_line.start()] + _MASK


def _without_members(text: str, found: set[str]) -> str:
    """Replace what follows a name as in JSON or in Python, quoted any number of times."""
    done: list[str] = []
    begin = 0
    # Names that are also common: only in a text about what has a secret under them.
    due = {"data": "secret" in text, "value": "qom-set" in text}
    while (member := _MEMBER.search(text, begin)) is not None:
        end = member.end()
        is_due = due.get(member["maybe"] or "", True)
        quoted = _QUOTE.match(text, end)
        if not is_due or (member["maybe"] and quoted is None):
            done.append(text[begin:end])
            begin = end
            continue
        if quoted is not None:
            close = _end_of_string(text, quoted)
            found.add(text[quoted.end() : close])
            done += (text[begin : quoted.end()], _MASK)
        else:
            scalar = cast("re.Match[str]", _SCALAR.match(text, end))
            close = len(text) if scalar[0][:1] in "{[" else scalar.end()
            shown = scalar[0] if scalar[0] in ("", "null", "None") else _MASK
            done += (text[begin:end], shown)
        begin = close
    return "".join((*done, text[begin:]))


def _end_of_string(text: str, opening: re.Match[str]) -> int:
    """Return where a string ends; at the end of the text where that was cut off."""
    for quoted in _QUOTE.finditer(text, opening.end()):
        # A quote inside the string has more backslashes than the one that opened it. (So has the
        # last one, where a backslash is before it: then more is hidden than has to be.)
        is_last = quoted[1] == opening[1] and quoted[2] == opening[2]
        if is_last and _AFTER_STRING.match(text, quoted.end()):
            return quoted.start(1)
    return len(text)


def _without_options(text: str, found: set[str]) -> str:
    """Replace what follows ``name=``, up to a comma that is not doubled or the line's end."""
    done: list[str] = []
    begin = 0
    has_secret = "secret" in text
    while (option := _OPTION.search(text, begin)) is not None:
        end = option.end()
        done.append(text[begin:end])
        begin = end
        is_due = has_secret or not option["maybe"]
        if is_due and not text.startswith(_MASK, end):
            value = cast("re.Match[str]", _OPTION_VALUE.match(text, end))
            if value[0]:
                found.add(value[0].replace(",,", ","))
                done.append(_MASK)
            begin = value.end()
    return "".join((*done, text[begin:]))


def _after_scheme(scheme: str, rest: str, found: set[str], is_whole: bool) -> str:
    """Redact what follows ``://``: the password, and what a query has of tokens."""
    if "@" not in rest and "=" not in rest:
        return rest
    begin = 0
    password = _password(scheme, rest)
    if password >= 0:
        end = _end_of_password(rest, password, is_whole)
        if end > password:
            found.update((rest[password:end], unquote(rest[password:end])))
            rest = f"{rest[:password]}{_MASK}{rest[end:]}"
            begin = password + len(_MASK)
    pattern = _WHOLE_QUERY if is_whole else _QUERY

    def less_token(parameter: re.Match[str]) -> str:
        if not parameter[2] or not _QUERY_SECRET.search(unquote(parameter[1])[-64:]):
            return parameter[0]
        found.update((parameter[2], unquote(parameter[2])))
        return f"{parameter[1]}={_MASK}"

    return rest[:begin] + pattern.sub(less_token, rest[begin:])


def _password(scheme: str, rest: str) -> int:
    """Return where the password of a URL would begin; -1 where there is none."""
    user = cast("re.Match[str]", _USER.match(rest)).end()
    separators = ":%" if scheme.rstrip(":/").lower().endswith(("iscsi", "iser")) else ":"
    has_one = rest[:1] != "[" and rest[user : user + 1] in tuple(separators)
    return user + 1 if has_one and not _PORT.match(rest, user + 1) else -1


def _end_of_password(rest: str, begin: int, is_whole: bool) -> int:
    """Return where the last ``@`` is that can end it; a password may hold ``@`` and ``/``."""
    borders = [len(rest)] if is_whole else [_first_of(rest, "\"'", begin), len(rest)]
    places = (rest.rfind("@", begin, border) for border in borders)
    return next((place for place in places if place >= 0), -1)


def _first_of(text: str, characters: str, begin: int) -> int:
    places = (text.find(character, begin) for character in characters)
    return min((place for place in places if place >= 0), default=len(text))
