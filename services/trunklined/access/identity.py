"""Identity: who makes a call, as far as that was proved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from trunkline.errors import UnauthenticatedError

ANONYMOUS: Final = "anonymous"
"""What the access file calls whoever proved nothing."""
UID: Final = "uid:"
"""What the name of a user of this machine begins with."""
MAX_NAME_LENGTH: Final = 255

Kind = Literal["token", "certificate", "owner", "user", "replica", "anonymous"]
"""What proves who somebody is. An owner is the own user of the program, on a UNIX socket that is for that user alone; a
user is another one of the machine, who was let in."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller.

    Args:
        name: what it is called: by its token or certificate, or `uid:NUMBER`. Of one that proved nothing, `anonymous`.
        kind: what proved it.
        peer: its address.
        source: which key or which line it was proved by; it counts for as long as that is there. Empty: for ever.
        ends: UNIX time after which it counts no more. None: never.
        speaker: who said that the call is on this one's behalf. Empty: it speaks for itself.
        client: what the client calls itself, for people: it proves nothing. Empty: it did not say.
    """

    name: str
    kind: Kind
    peer: str
    source: str = ""
    ends: float | None = None
    speaker: str = ""
    client: str = ""

    @property
    def place(self) -> str:
        """Where it is, for people: its address, and what the client calls itself."""
        return f"{self.peer} [{self.client}]" if self.client else self.peer

    @property
    def principal(self) -> str:
        """What is noted of it where it did something: its name, or the place of one that proved nothing."""
        return self.place[:MAX_NAME_LENGTH] if self.name == ANONYMOUS else self.name

    @property
    def caller(self) -> Identity:
        """Who makes the call, as far as that was proved: who speaks for this one, or it itself."""
        return replace(self, name=self.speaker, speaker="") if self.speaker else self

    def __str__(self) -> str:
        return self.place if self.kind == "anonymous" else f"{self.name} ({self.place})"


def check_identity_name(name: object) -> str:
    """Returns a name that a token or a certificate gives, or raises UnauthenticatedError where it cannot be one: names
    of users of this machine, and of nobody, cannot be had so."""
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= MAX_NAME_LENGTH
        or not name.isprintable()
        or name == ANONYMOUS
        or name.startswith(UID)
    ):
        raise UnauthenticatedError("the name that is given cannot be that of a caller", details={"why": "bad name"})
    return name
