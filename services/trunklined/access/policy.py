"""Policy: what the access file allows to whom. Whatever no block allows is denied."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trunkline.channels import check_name, covers
from trunkline.errors import InvalidChannelError
from trunklined.access.identity import ANONYMOUS, Identity
from trunklined.access.limits import Limits, Rate
from trunklined.access.rights import RIGHTS, Form, Need

IDENTITY: Final = "{identity}"
"""Stands for the caller's own name in patterns, names and ids."""
ANY: Final = "*"
MAX_ANSWERS: Final = 4_096
"""Decisions on one identity that are remembered; beyond it all are forgotten."""
MAX_PERMISSIONS: Final = 1_024
"""Identities whose permissions are remembered."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One pattern, name, record or word of a right, and the line of the file that has it."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Block:
    """What some identities are allowed.

    Args:
        who: names of identities, where `*` stands for any text.
        rights: entries by right.
        on_behalf_of: whether they are believed when they say that a call is somebody else's.
        line: where it begins.
    """

    who: Sequence[str]
    rights: Mapping[str, Sequence[Entry]]
    on_behalf_of: bool
    line: int

    def is_for(self, name: str) -> bool:
        """Returns whether it is for an identity. Nobody in particular is meant by its own name alone."""
        return any(each == name or (name != ANONYMOUS and glob(each).fullmatch(name)) for each in self.who)


@dataclass(frozen=True, slots=True)
class LimitBlock:
    """Limits that some identities have, each for itself.

    Args:
        who: names of identities, where `*` stands for any text, and alone for everybody, also who proved nothing.
        limits: what it says; what it does not say is left to the blocks behind it.
    """

    who: Sequence[str]
    limits: Limits

    def is_for(self, name: str) -> bool:
        """Returns whether it is for an identity."""
        return any(glob(each).fullmatch(name) for each in self.who)


@dataclass(slots=True)
class Permissions:
    """What one identity may do."""

    entries: Mapping[str, Sequence[Entry]]
    on_behalf_of: bool
    _answers: dict[Need, int] = field(default_factory=dict)

    def line_for(self, need: Need) -> int:
        """Returns the line that allows what is asked for; 0: none does. Where several do so together, the first."""
        found = self._answers.get(need)
        if found is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            found = self._answers[need] = _line_for(self.entries.get(need.right, ()), need)
        return found


class Policy:
    """What a file says.

    Args:
        blocks: in the order of the file.
        limits: the same; of each limit the first block counts that is for the identity and says it.
    """

    def __init__(self, blocks: Sequence[Block], limits: Sequence[LimitBlock] = ()) -> None:
        self.blocks = blocks
        self._limits = limits
        self._known: dict[str, Permissions] = {}

    def permissions_of(self, name: str) -> Permissions:
        """Returns what an identity may do, by its name."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= MAX_PERMISSIONS:
                self._known.clear()
            found = self._known[name] = self._gather(name)
        return found

    def limits_of(self, name: str) -> Limits:
        """Returns the limits of an identity, by its name."""
        rates: dict[str, Rate] = {}
        numbers: dict[str, float] = {}
        for block in reversed([each for each in self._limits if each.is_for(name)]):
            rates |= block.limits.rates
            numbers |= block.limits.numbers
        return Limits(
            {limit: rate for limit, rate in rates.items() if rate.per_second < math.inf},
            {limit: number for limit, number in numbers.items() if number < math.inf},
        )

    def trusts(self, identity: Identity) -> bool:
        """Returns whether an identity is believed when it says that a call is somebody else's."""
        return self.permissions_of(identity.name).on_behalf_of

    def _gather(self, name: str) -> Permissions:
        entries: dict[str, list[Entry]] = {}
        on_behalf_of = False
        for block in self.blocks:
            if not block.is_for(name):
                continue
            on_behalf_of = on_behalf_of or block.on_behalf_of
            for right, listed in block.rights.items():
                own = (_filled_in(entry, RIGHTS[right], name) for entry in listed)
                entries.setdefault(right, []).extend(each for each in own if each is not None)
        return Permissions(entries, on_behalf_of)


def glob(pattern: str) -> re.Pattern[str]:
    """Returns what matches a name in which `*` stands for any text; all other characters stand for themselves."""
    return re.compile(".*".join(map(re.escape, pattern.split(ANY))), re.DOTALL)


def _filled_in(entry: Entry, form: Form, name: str) -> Entry | None:
    """Puts a caller's name in the place of the template; None where the name has no place in a channel."""
    if IDENTITY not in entry.text:
        return entry
    if form is Form.PATTERNS:
        try:
            check_name("identity", name)
        except InvalidChannelError:
            return None
        return Entry(entry.text.replace(IDENTITY, name), entry.line)
    return None if ANY in name else Entry(entry.text.replace(IDENTITY, name), entry.line)


def _line_for(entries: Sequence[Entry], need: Need) -> int:
    form = RIGHTS[need.right]
    if form is Form.PATTERNS:
        for entry in entries:
            if covers((entry.text,), need.object):
                return entry.line
        if covers([entry.text for entry in entries], need.object):
            return next(entry.line for entry in entries)
        return 0
    return next((entry.line for entry in entries if _allows(form, entry.text, need.object)), 0)


def _allows(form: Form, allowed: str, wanted: str) -> bool:
    if form is Form.WORDS:
        return allowed == wanted
    if form is Form.RECORDS:
        kind, _, id = wanted.partition("/")
        allowed_kind, _, allowed = allowed.partition("/")
        if allowed_kind not in (ANY, kind):
            return False
        wanted = id
    return not allowed.strip(ANY) if not wanted else glob(allowed).fullmatch(wanted) is not None
