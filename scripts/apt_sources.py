"""Read the machine's apt sources, in either of apt's formats, and add the backports to them.

Only text in and text out; scripts/fetch_qemu.py is what runs apt with it.
"""

from __future__ import annotations

import re
from pathlib import Path

ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)")
# The options of a one-line entry that say whether to trust an archive, as deb822 spells them.
TRUST = {"signed-by": "Signed-By", "trusted": "Trusted"}

Stanza = dict[str, str]


def parse_list(text: str) -> list[Stanza]:
    """Read one-line apt sources (`deb [options] uri suite component...`)."""
    stanzas: list[Stanza] = []
    for line in text.splitlines():
        entry = ONE_LINE.match(line.split("#")[0].strip())
        if entry is None:
            continue
        suite, *components = entry["rest"].split()
        stanza = {"URIs": entry["uri"], "Suites": suite, "Components": " ".join(components)}
        for option in (entry["options"] or "").split():
            key, _, value = option.partition("=")
            if key.lower() in TRUST:
                stanza[TRUST[key.lower()]] = value
        stanzas.append(stanza)
    return stanzas


def parse_deb822(text: str) -> list[Stanza]:
    """Read deb822 apt sources; a field keeps its continuation lines (a key may be inline)."""
    stanzas: list[Stanza] = []
    for paragraph in re.split(r"\n\s*\n", text):
        stanza: Stanza = {}
        field = ""
        for line in paragraph.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0].isspace():
                stanza[field] += "\n" + line
            else:
                name, _, value = line.partition(":")
                # Field names have no case in deb822; ours are spelt as apt's manual does.
                field = {"uris": "URIs"}.get(name.lower(), name.title())
                stanza[field] = value.strip()
        enabled = stanza.get("Enabled", "yes").lower() not in ("no", "false", "0")
        if enabled and "deb" in stanza.get("Types", "").split():
            stanzas.append(stanza)
    return stanzas


def with_backports(stanzas: list[Stanza], machine: str, release: str) -> str:
    """Write the distribution's own entries for `release`, with its backports.

    `machine` is the codename of the machine's release. The other suites stay because what
    QEMU needs may be there.
    """
    kept: list[Stanza] = []
    for stanza in stanzas:
        suites = stanza["Suites"].split()
        if any(suite.startswith(machine) for suite in suites):
            suites = [suite.replace(machine, release, 1) for suite in suites]
            if release in suites and f"{release}-backports" not in suites:
                suites.append(f"{release}-backports")
            kept.append({**stanza, "Suites": " ".join(suites)})
    if not any(release in s["Suites"].split() for s in kept):
        raise LookupError(f"no apt source of this machine has the suite {machine}")
    fields = ("URIs", "Suites", "Components", "Signed-By", "Trusted")
    return "\n".join(
        "Types: deb\n" + "".join(f"{f}: {s[f]}\n" for f in fields if f in s) for s in kept
    )


def machine_sources(etc: Path) -> list[Stanza]:
    """Read every apt source of the machine."""
    lists = [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]
    stanzas = [s for path in lists if path.is_file() for s in parse_list(path.read_text())]
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        stanzas += parse_deb822(path.read_text())
    return stanzas
