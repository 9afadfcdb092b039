"""identify(): who makes a call, as far as that was proved: by a token, a certificate, or a socket of the own user. The
one place where a call's metadata are believed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote

from trunkline.addresses import UNIX, this_process
from trunkline.errors import PermissionDeniedError, UnauthenticatedError
from trunkline.wire.token import AUTHORIZATION, CLIENT, MAX_CLIENT_NAME_LENGTH, ON_BEHALF_OF, whose
from trunklined.access.control import AccessControl
from trunklined.access.gate import current_gate
from trunklined.access.identity import ANONYMOUS, MAX_NAME_LENGTH, UID, Identity, check_identity_name

PEER: Final = "trunkline-peer"
"""The metadata in which a program that hands a call on says where it came from."""
REPLICA_KEY: Final = "trunkline-replica-key"
"""The same: that it is another replica of the same service."""
HOP: Final = (AUTHORIZATION, PEER, ON_BEHALF_OF, REPLICA_KEY)
"""Metadata of one connection: who hands a call on says them anew."""

_LED_IN: Final = "unix-abstract:"
"""How gRPC says the name of a socket that has one and no file."""
_LED_IN_UID: Final = "trunkline-uid-"
_NAMES: Final = ("x509_subject_alternative_name", "x509_common_name")
"""Where gRPC has the names of a client's certificate: the first that is there counts (RFC 9525 takes no other)."""
_BEARER: Final = "bearer"
_SAID: Final = (*HOP, CLIENT)


async def identify(context: Any, control: AccessControl, call: str) -> Identity:
    """Returns who makes a call, by its gRPC context and, for the audit log, its name.

    Raises:
        UnauthenticatedError: it proves nothing, where a proof is asked for, or its proof is wrong.
        PermissionDeniedError: it says that it is somebody else's, and is not believed.
        KeysAwayError: the keys that tokens are checked with could not be fetched yet.
    """
    said = {str(key): str(value) for key, value in context.invocation_metadata() or () if key in _SAID}
    speaker = await _proven(context, said, control)
    if client := said.get(CLIENT):
        speaker = replace(speaker, client=_shown(client))
    behalf = said.get(ON_BEHALF_OF)
    if behalf is None and PEER not in said:
        return speaker
    if not control.trusts(speaker):
        if behalf is None:
            return speaker  # where it came from is for people, and is left out
        raise control.untrusted(speaker, call)
    peer = said.get(PEER, speaker.peer)
    if behalf is None:
        return replace(speaker, peer=peer)
    name = unquote(behalf)
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise PermissionDeniedError("the name that is spoken for is none", details={"right": "on_behalf_of"})
    return replace(speaker, name=name, peer=peer, speaker=speaker.name)


def _shown(client: str) -> str:
    """What a client calls itself, as far as it can be shown."""
    return "".join(filter(str.isprintable, unquote(client)[:MAX_CLIENT_NAME_LENGTH]))


def name_of_peer(uid: int) -> str:
    """Returns how the name of a socket begins by which the own user leads in a program of another user, whom it asked
    the kernel for."""
    return f"{_LED_IN_UID}{uid}-"


async def _proven(context: Any, said: dict[str, str], control: AccessControl) -> Identity:
    """Who speaks."""
    peer: str = context.peer()
    if (key := said.get(REPLICA_KEY)) is not None and control.is_replica(key):
        return Identity("replica", "replica", peer)
    proof = control.proof
    if proof.takes_tokens and (given := said.get(AUTHORIZATION)) is not None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != _BEARER or not token.strip():
            raise UnauthenticatedError(
                "the authorization is not of the form: Bearer TOKEN", details={"why": "malformed"}
            )
        proven = await proof.prove(token.strip())
        return Identity(proven.name, "token", peer, proven.source, proven.ends)
    if name := certificate_name(context):
        return Identity(check_identity_name(name), "certificate", peer)
    own = name_of_user(os.geteuid())
    if peer.startswith(_LED_IN + _LED_IN_UID):
        name = f"{UID}{peer.removeprefix(_LED_IN + _LED_IN_UID).partition('-')[0]}"
        return Identity(name, "owner" if name == own else "user", peer)
    if peer.startswith(UNIX):
        # Nobody but the own user, and root, can connect to the socket: it has mode 0600 from its first moment.
        return Identity(own, "owner", peer)
    if proof.takes_tokens:
        raise UnauthenticatedError("no token was given", details={"why": "no token"})
    return Identity(ANONYMOUS, "anonymous", peer)


def name_of_user(uid: int) -> str:
    """Returns what a user of this machine is called."""
    return f"{UID}{uid}"


def certificate_name(context: Any) -> str:
    """Returns the name in a client's certificate; empty: it showed none. It has one only where TLS asked for one."""
    proved = context.auth_context()
    named: Sequence[bytes] = next((names for key in _NAMES if (names := tuple(proved.get(key, ())))), (b"",))
    return named[0].decode("utf-8", "backslashreplace")


def peer_of(context: Any) -> str:
    """Returns who made a call, for people: the name that was proved, and the place."""
    gate = current_gate()
    return str(gate.identity) if gate is not None else str(context.peer())


def principal() -> str:
    """Returns what is noted of who made the call that is served, of at most MAX_NAME_LENGTH characters: see
    `Identity.principal`; within one process, this process."""
    gate = current_gate()
    return gate.identity.principal if gate is not None else this_process()[:MAX_NAME_LENGTH]


def is_from_replica() -> bool:
    """Returns whether the call that is served comes from another replica of the same service."""
    gate = current_gate()
    return gate is not None and gate.is_from_replica


def handed_on(context: Any) -> tuple[tuple[str, str], ...]:
    """Returns the metadata with which a call is handed on: whose it is, and where it came from."""
    gate = current_gate()
    name, peer = (gate.identity.name, gate.identity.peer) if gate is not None else (ANONYMOUS, context.peer())
    return ((PEER, peer.encode("ascii", "backslashreplace").decode()), whose(name))
