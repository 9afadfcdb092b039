"""Proof: what is taken for a proof of who somebody is, read anew when its files change."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from trunkline.errors import TrunklineError, UnauthenticatedError
from trunkline.tls.pem import state_of
from trunklined.access.identity import Identity, check_identity_name
from trunklined.access.jwt_terms import HTTPS, JwtTerms
from trunklined.access.proof_errors import KeysAwayError, KeysError
from trunklined.access.tokens import PREFIX, TokenFileError, read_tokens

if TYPE_CHECKING:  # its libraries take a tenth of a second to load: only who takes such tokens waits for that
    from trunklined.access.jwt import Keys

KEYS_SECONDS: Final = 60.0
"""How often keys are fetched from a URL: one that is removed there counts no more after that."""
AGAIN_SECONDS: Final = 5.0
"""So long after a fetch an unknown key makes another one, and after one that failed the next comes."""
MAX_KNOWN: Final = 4_096
"""Tokens that were checked and are remembered, by their hashes; beyond it all are forgotten."""


class Proven(NamedTuple):
    """What a token proves: see `Identity`."""

    name: str
    source: str
    ends: float | None


class Proof:
    """Checks tokens: static ones, and those that somebody else signs.

    Args:
        token_file: the file of static tokens; empty: none are taken.
        jwt_keys: where the keys of others' tokens are: a file or an https URL; empty: none are taken.
        terms: what others' tokens must say.

    Raises:
        TokenFileError, KeysError: a file cannot be taken. A URL that is away is logged, and tokens are refused until it
            is there.
    """

    def __init__(self, token_file: str = "", jwt_keys: str = "", terms: JwtTerms | None = None) -> None:
        self._path = Path(token_file) if token_file else None
        self._keys_at = jwt_keys
        self._is_fetched = jwt_keys.startswith(HTTPS)
        self._terms = terms
        self._lock = threading.Lock()
        self._fetching = asyncio.Lock()
        self._known: dict[bytes, Proven] = {}
        self._states = self._look()
        self._fetched = 0.0
        self._told = ""
        """Why the keys of now cannot be taken, as it was logged last."""
        self.failures = 0
        self._static = read_tokens(self._path) if self._path else None
        self._keys: Keys | None = None
        if self._is_fetched:
            self._fetch()
        elif jwt_keys:
            self._keys = _load(jwt_keys)

    @property
    def takes_tokens(self) -> bool:
        """Whether a token proves anything."""
        return self._path is not None or bool(self._keys_at)

    async def prove(self, token: str) -> Proven:
        """Returns what a token proves.

        Raises:
            UnauthenticatedError: nothing.
            KeysAwayError: the keys could not be fetched yet.
        """
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._known.get(digest)
        if known is None:
            try:
                known = self._check(token)
            except UnauthenticatedError as error:
                if error.details.get("why") != "unknown key" or not await self._fetched_anew():
                    raise
                known = self._check(token)
            except KeysAwayError:
                if not await self._fetched_anew():
                    raise
                known = self._check(token)
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[digest] = known
        if is_over(known.ends):
            raise UnauthenticatedError("the token has expired", details={"why": "expired"})
        return known

    def holds(self, identity: Identity) -> bool:
        """Returns whether what an identity was proved by counts still."""
        if is_over(identity.ends):
            return False
        return not identity.source or identity.source in self._sources()

    def look(self) -> bool:
        """Reads what has changed; returns whether anything did. What cannot be taken is logged, counted, and changes
        nothing. Blocks: for a thread of its own."""
        with self._lock:
            before = self._static, self._keys
            states = self._look()
            if states != self._states:
                self._states = states
                self._read_anew()
            if self._is_fetched:
                wait = KEYS_SECONDS if self._keys is not None and not self._told else AGAIN_SECONDS
                if time.monotonic() - self._fetched >= wait:
                    self._fetch()
            has_changed = (self._static, self._keys) != before
            if has_changed:
                self._known = {}
            return has_changed

    def _check(self, token: str) -> Proven:
        if self._static is not None and token.startswith(PREFIX):
            name, source = self._static.verify(token)
            return Proven(check_identity_name(name), source, None)
        if self._terms is None or not self._keys_at:
            raise UnauthenticatedError("the token is not known", details={"why": "unknown token"})
        if self._keys is None:
            raise KeysAwayError("the keys that tokens are checked with could not be fetched yet")
        from trunklined.access.jwt import verify

        name, source, ends = verify(token, self._keys, self._terms)
        return Proven(check_identity_name(name), source, ends)

    def _sources(self) -> frozenset[str]:
        static = self._static.sources if self._static is not None else frozenset()
        return static | (self._keys.sources if self._keys is not None else frozenset())

    async def _fetched_anew(self) -> bool:
        """Fetches the keys, where they are at a URL and that was not done just now; returns whether it did."""
        async with self._fetching:
            if not self._is_fetched or time.monotonic() - self._fetched < AGAIN_SECONDS:
                return False
            await asyncio.to_thread(self._fetch)
            return True

    def _fetch(self) -> None:
        self._fetched = time.monotonic()
        try:
            keys = _load(self._keys_at)
            if keys != self._keys:
                self._keys = keys
                structlog.get_logger().info("tokens and their keys were read anew")
            self._told = ""
        except KeysError as error:
            self._tell(error)

    def _read_anew(self) -> None:
        try:
            static = read_tokens(self._path) if self._path else None
            keys = _load(self._keys_at) if self._keys_at and not self._is_fetched else self._keys
        except (TokenFileError, KeysError) as error:
            self._tell(error)
            return
        self._static, self._keys, self._told = static, keys, ""
        structlog.get_logger().info("tokens and their keys were read anew")

    def _tell(self, error: TrunklineError) -> None:
        self.failures += 1
        if self._told != error.message:
            self._told = error.message
            structlog.get_logger().error(
                "what tokens are checked with cannot be taken; that of before counts on", reason=error.message
            )

    def _look(self) -> tuple[object, ...]:
        files = [str(self._path)] if self._path else []
        if self._keys_at and not self._is_fetched:
            files.append(self._keys_at)
        return state_of(files)


def is_over(ends: float | None) -> bool:
    """Returns whether a token that ends then has ended."""
    return ends is not None and time.time() >= ends


def _load(source: str) -> Keys:
    from trunklined.access.jwt import load_keys

    return load_keys(source)
