"""The access file: what it allows, and what is said of one that is wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunklined.access.access_file import AccessFileError, parse_policy, read_policy
from trunklined.access.policy import Policy
from trunklined.access.rights import ALL, RIGHTS, Need

FILE = Path("access.toml")
TEXT = """\
# Agents talk to their coordinator.
[[allow]]
who = ["agent-*"]
publish = ["conductor:response", "conductor:agent:{identity}:>"]
subscribe = [
    "conductor:agent:{identity}",
    "conductor:broadcast",   # everybody
]
durable.join = ["coders-*"]
records = { read = ["*/*"], write = ["agent_state/{identity}"] }

[[allow]]
who = ["uid:1000", "gateway"]
on_behalf_of = true
[allow.dead_letters]
see = ["*"]

[[allow]]
who = ["anonymous"]
inspect = ["stats"]
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(TEXT, FILE)


@pytest.mark.parametrize(
    ("name", "right", "object", "line"),
    [
        ("agent-7", "publish", "conductor:response", 4),
        ("agent-7", "publish", "conductor:agent:agent-7:x", 4),
        ("agent-7", "publish", "conductor:agent:agent-8:x", 0),
        ("agent-7", "publish", "conductor:agent:agent-7", 0),
        ("agent-7", "subscribe", "conductor:agent:agent-7", 6),
        ("agent-7", "subscribe", "conductor:broadcast", 7),
        ("agent-7", "subscribe", "conductor:*", 0),
        ("agent-7", "durable.join", "coders-1", 9),
        ("agent-7", "durable.join", "coders", 0),
        ("agent-7", "durable.create", "coders-1", 0),
        ("agent-7", "records.read", "task_result/x/y", 10),
        ("agent-7", "records.read", "task_result/", 10),
        ("agent-7", "records.write", "agent_state/agent-7", 10),
        ("agent-7", "records.write", "agent_state/agent-77", 0),
        ("agent-7", "records.write", "agent_state/", 0),
        ("agent", "publish", "conductor:response", 0),
        ("uid:1000", "dead_letters.see", ALL, 16),
        ("gateway", "dead_letters.see", "coders", 16),
        ("gateway", "dead_letters.purge", "coders", 0),
        ("anonymous", "inspect", "stats", 20),
        ("anonymous", "inspect", "list", 0),
    ],
)
def test_what_it_allows_and_which_line_says_so(policy: Policy, name: str, right: str, object: str, line: int) -> None:
    """Whatever no line allows is denied."""
    assert policy.permissions_of(name).line_for(Need(right, object)) == line


def test_who_speaks_for_others(policy: Policy) -> None:
    """Only who is said to."""
    assert [name for name in ("agent-7", "uid:1000", "gateway", "x") if policy.permissions_of(name).on_behalf_of] == [
        "uid:1000",
        "gateway",
    ]


@pytest.mark.parametrize("name", ["agent-*", "agent-:>", "agent-a:b", "agent-\n", "agent-{identity}"])
def test_a_name_never_widens_a_template(policy: Policy, name: str) -> None:
    """A name that is none in a channel is put into none; one with a star into no id."""
    permissions = policy.permissions_of(name)
    for object in ("conductor:agent:x", "conductor:agent:agent-7", f"conductor:agent:{name}"):
        assert not permissions.line_for(Need("subscribe", object))
    assert not permissions.line_for(Need("records.write", "agent_state/agent-7"))


def test_everybody_is_nobody_that_proved_nothing() -> None:
    """A star is for identities; nobody in particular must be named."""
    policy = parse_policy('[[allow]]\nwho = ["*"]\npublish = [">"]', FILE)
    assert policy.permissions_of("x").line_for(Need("publish", "a"))
    assert not policy.permissions_of("anonymous").line_for(Need("publish", "a"))


@pytest.mark.parametrize("right", RIGHTS)
def test_each_right_can_be_given(right: str) -> None:
    """By the name that errors and the audit log call it by."""
    object = {"inspect": "stats"}.get(right, "task_result/x" if right.startswith("records") else "x")
    policy = parse_policy(f'[[allow]]\nwho = ["a"]\n{right} = ["{object}"]', FILE)
    assert policy.permissions_of("a").line_for(Need(right, object)) == 3


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            '[[allow]]\nwho = ["a"]\npublsh = ["x"]',
            r"access\.toml, line 3: 'publsh' is unknown; did you mean 'publish'",
        ),
        (
            '[[allow]]\nwho = ["a"]\ndurable.jion = ["x"]',
            r"line 3: 'durable\.jion' is unknown; did you mean 'durable\.j",
        ),
        ('[[allow]]\nwho = ["a"]\n[allow.records]\nerase = ["*/*"]', r"line 4: 'records\.erase' is unknown"),
        ('[[alow]]\nwho = ["a"]', r"'alow' is unknown; did you mean 'allow'"),
        ('[[allow]]\npublish = ["x"]', r"line 1: the block does not say who"),
        ("[[allow]]\nwho = []", r"line 2: who names nobody"),
        ('[[allow]]\nwho = "a"', r"line 2: who must be a list of texts"),
        ('[[allow]]\nwho = ["a"]\npublish = [\n "a:b",\n "a::b"]', r"line 5: publish: pattern 'a::b' is malformed"),
        ('[[allow]]\nwho = ["a"]\npublish = [1]', r"line 3: publish must be a list of texts"),
        ('[[allow]]\nwho = ["a"]\npublish = ["{name}"]', r"line 3: publish: '\{name\}' has a template that is unknown"),
        ('[[allow]]\nwho = ["a"]\ninspect = ["all"]', r"line 3: inspect: 'all' is unknown: it can be list, stats"),
        ('[[allow]]\nwho = ["a"]\nrecords.read = ["x/*"]', r"line 3: records\.read: 'x/\*': 'x' is no kind"),
        ('[[allow]]\nwho = ["a"]\nrecords.read = ["lease"]', r"line 3: records\.read: 'lease' names no record"),
        ('[[allow]]\nwho = ["a"]\non_behalf_of = "yes"', r"line 3: on_behalf_of must be true or false"),
        ('[[allow]]\nwho = ["a"', r"line 2: it is no TOML"),
        ("allow = 1", r"line 1: allow must be blocks"),
        ('deny = ["a"]', r"line 1: 'deny' is unknown"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_word(text: str, wrong: str) -> None:
    """And the whole file is refused."""
    with pytest.raises(AccessFileError, match=wrong):
        parse_policy(text, FILE)


@given(st.text(alphabet="[]alow=\"'*>:{}.#\n who{identity}publish", max_size=200) | st.text(max_size=50))
def test_whatever_it_has_is_taken_or_refused(text: str) -> None:
    """Never anything else."""
    with suppress(AccessFileError):
        assert isinstance(parse_policy(text, FILE), Policy)


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """Whoever writes it decides who may do what."""
    path = tmp_path / "access.toml"
    path.write_text(TEXT)
    path.chmod(0o660)
    with pytest.raises(AccessFileError, match="can be written by others"):
        read_policy(path)
    path.chmod(0o640)
    assert read_policy(path).blocks
    with pytest.raises(AccessFileError, match="cannot be read: No such file"):
        read_policy(tmp_path / "none")
