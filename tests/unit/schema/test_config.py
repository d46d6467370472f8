"""roots.toml and names.toml: every mistake in their form is one sentence that says where."""

from __future__ import annotations

import pytest

from qemu_blocksdk.schema.config import Config, ConfigError, NameClash

JOB = '[domain.job]\ndoc = "Jobs."\n'
NAMES = "[names]\n"


def test_a_domain_has_what_is_written() -> None:
    (domain,) = Config.parse(JOB + 'commands = ["query-jobs"]', NAMES).domains
    assert (domain.name, domain.doc, domain.commands) == ("job", "Jobs.", ("query-jobs",))


@pytest.mark.parametrize("kind", ["commands", "events", "types"])
def test_a_name_in_two_domains_is_a_clash_that_names_both(kind: str) -> None:
    roots = f'{JOB}{kind} = ["a", "b"]\n[domain.block]\ndoc = "Blocks."\n{kind} = ["b"]'
    with pytest.raises(NameClash, match="name b") as caught:
        Config.parse(roots, NAMES)
    assert caught.value.subjects == (f"domain.job.{kind}", f"domain.block.{kind}")


def test_a_name_twice_in_one_domain_is_a_clash() -> None:
    with pytest.raises(NameClash, match="query-jobs"):
        Config.parse(JOB + 'commands = ["query-jobs", "query-jobs"]', NAMES)


@pytest.mark.parametrize(
    ("roots", "names", "where"),
    [
        (JOB + 'commands = "query-jobs"', NAMES, "domain.job.commands"),
        (JOB + "events = [1]", NAMES, "domain.job.events"),
        (JOB + 'command = ["query-jobs"]', NAMES, "domain.job.*command"),
        ("[domain.job]\ndoc = 1", NAMES, "domain.job.doc"),
        ("[domain.job]", NAMES, "domain.job.doc"),
        ("domain = 1", NAMES, "domain"),
        ("[domain]\njob = 1", NAMES, "domain.job"),
        (JOB + "[rename]\nSTOP = 1", NAMES, "rename.STOP"),
        ('sparse = "BlockdevOptions"\n' + JOB, NAMES, "sparse"),
        (JOB, "", "names"),
        (JOB, '[names]\n"query-jobs.ret" = 1', "names.query-jobs.ret"),
        (JOB, "[names", "cannot be read"),
    ],
)
def test_what_has_another_form_is_refused_and_named(roots: str, names: str, where: str) -> None:
    with pytest.raises(ConfigError, match=where) as caught:
        Config.parse(roots, names)
    assert "\n" not in str(caught.value)
