"""AccessControl: the gates that are open, and what happens to them when files change."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from trunkline.errors import PermissionDeniedError, TrunklineError, UnauthenticatedError
from trunkline.tls.pem import state_of
from trunklined.access.access_file import AccessFileError, read_policy
from trunklined.access.audit import AuditLog
from trunklined.access.gate import Costs, Gate
from trunklined.access.identity import Identity
from trunklined.access.limits import NONE, Limits, Quota, Quotas
from trunklined.access.policy import Permissions, Policy
from trunklined.access.proof import Proof
from trunklined.access.proof_errors import KeysError
from trunklined.access.refusals import UNKNOWN, Refusals
from trunklined.access.rights import Rules
from trunklined.access.tokens import TokenFileError

LOOK_SECONDS: Final = 5.0
"""How often files, and the tokens of open streams, are looked at: a stream ends so long after its token at the most."""


class AccessControl:
    """Knows who may do what now.

    Args:
        proof: what tokens prove.
        access_file: the file of permissions; empty: everybody who comes in may do everything.
        audit: where denials go.
        names: identities that metrics name.

    Raises:
        AccessFileError: the file cannot be taken.
    """

    def __init__(self, proof: Proof, access_file: str = "", audit: AuditLog | None = None, names: int = 0) -> None:
        self.proof = proof
        self.audit = audit or AuditLog()
        self.rules: Rules = {}
        """What requests and items ask for; the program's own."""
        self.costs: Costs = {}
        """What they use of the limits; the same."""
        self.replica_key = ""
        """What only replicas of the same service know. Empty: there are none."""
        self.refusals = Refusals(names)
        """Refused calls and items."""
        self.failures = 0
        """Access files that could not be taken."""
        self._path = Path(access_file) if access_file else None
        self._state = self._look_at_file()
        self.policy: Policy | None = read_policy(self._path) if self._path else None
        self._quotas = Quotas(self._limits_of)
        self._gates: set[Gate] = set()
        """Of streams."""

    def permissions_of(self, identity: Identity) -> Permissions | None:
        """Returns what a caller may do; None: everything. A replica that speaks for itself may."""
        if self.policy is None or (identity.kind == "replica" and not identity.speaker):
            return None
        return self.policy.permissions_of(identity.name)

    def quota_of(self, identity: Identity) -> Quota | None:
        """Returns what a caller has used of its limits; None: it has none, as a replica that speaks for itself."""
        if self.policy is None or (identity.kind == "replica" and not identity.speaker):
            return None
        return self._quotas.of(identity.name)

    def _limits_of(self, name: str) -> Limits:
        return NONE if self.policy is None else self.policy.limits_of(name)

    def trusts(self, identity: Identity) -> bool:
        """Returns whether a caller is believed when it says on whose behalf a call is: another replica, the program's
        own user, and whom the access file trusts."""
        if identity.kind in ("replica", "owner"):
            return True
        return self.policy is not None and self.policy.trusts(identity)

    def is_replica(self, key: str) -> bool:
        """Returns whether a caller is another replica of the same service, by what it knows."""
        return bool(self.replica_key) and hmac.compare_digest(key.encode(), self.replica_key.encode())

    def open(self, identity: Identity, call: str, end: Callable[[TrunklineError], None]) -> Gate:
        """Opens the gate of a stream; see `Gate`."""
        gate = Gate(self, identity, call, end)
        self._gates.add(gate)
        return gate

    def close(self, gate: Gate) -> None:
        """Forgets the gate of a stream that is over."""
        self._gates.discard(gate)

    def denied(self, identity: Identity, call: str, what: str) -> None:
        """Counts and records what a caller was refused."""
        self.refusals.add(identity.name, "permission")
        self.audit.denied(identity, call, what, "permission")

    def untrusted(self, identity: Identity, call: str) -> PermissionDeniedError:
        """Counts and records a caller that speaks for another and is not believed; returns its error."""
        right = "on_behalf_of"
        self.denied(identity, call, right)
        return PermissionDeniedError(
            f"{identity.name} may not speak for others", details={"identity": identity.name, "right": right}
        )

    def overloaded(self, identity: Identity, call: str, limit: str) -> None:
        """Counts and records that a caller has reached a limit."""
        self.refusals.add(identity.name, "limit")
        self.audit.denied(identity, call, limit, "limit")

    def done(self, identity: Identity, call: str, what: str, error: TrunklineError | None) -> None:
        """Records an act of administration, and how it ended."""
        self.audit.done(identity, call, what, error)

    def refused(self, identity: Identity, call: str, error: TrunklineError) -> None:
        """Counts and records a caller that could not prove who it is."""
        self.refusals.add(identity.name or UNKNOWN, "identity")
        self.audit.denied(identity, call, "", str(error.details.get("why") or error.message))

    async def watch(self) -> None:
        """Looks at the files every few seconds, and as often whether keys are to be fetched, until it is cancelled.
        Neither waits for the other: a server of keys that does not answer holds up nothing else."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_again_and_again(self.look))
            tasks.create_task(_again_and_again(self.fetch))

    async def fetch(self) -> None:
        """Fetches the keys of tokens where that is due, and ends what is open and counts no more."""
        if await self.proof.fetch_if_due():
            self.audit.changed("reload token keys", "done")
            self._end_what_counts_no_more()

    async def look(self) -> None:
        """Takes up what has changed in files, and ends what is open and counts, or is allowed, no more."""
        try:
            if await asyncio.to_thread(self.proof.look):
                self.audit.changed("reload tokens", "done")
        except (TokenFileError, KeysError) as error:
            self.audit.changed("reload tokens", "failed", why=error.message)
        state = self._look_at_file()
        self._end_what_counts_no_more()
        if state != self._state and self._path is not None:
            if await self._read_anew(self._path):
                self._quotas.look()
                for gate in list(self._gates):
                    self._look_at(gate)
            self._state = state

    def _end_what_counts_no_more(self) -> None:
        for gate in list(self._gates):
            if not self.proof.holds(gate.identity):
                error = UnauthenticatedError(
                    "what the caller proved itself by has expired, or was taken back", details={"why": "expired"}
                )
                self.refused(gate.identity, gate.call, error)
                gate.end(error)

    def _look_at(self, gate: Gate) -> None:
        caller = gate.identity.caller
        if gate.identity.speaker and not self.trusts(caller):
            gate.end(self.untrusted(caller, gate.call))
        else:
            gate.look()

    async def _read_anew(self, path: Path) -> bool:
        log = structlog.get_logger()
        try:
            self.policy = await asyncio.to_thread(read_policy, path)
        except AccessFileError as error:
            self.failures += 1
            log.error("the access file cannot be taken; that of before is in force", reason=error.message)
            self.audit.changed("reload access file", "failed", why=error.message)
            return False
        self.audit.changed("reload access file", "done", file=str(path))
        log.info("the access file was read anew", file=str(path))
        return True

    def _look_at_file(self) -> tuple[object, ...]:
        return state_of([str(self._path)] if self._path else [])


async def _again_and_again(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            await look()
        except Exception:  # noqa: BLE001  # who has lost a right must lose it, whatever went wrong once
            structlog.get_logger().exception("what changed in access could not be taken up; it is tried again")
