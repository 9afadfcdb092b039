"""Proof: what is taken for a proof of who somebody is, read anew when its files change."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from trunkline.errors import TrunklineError, UnauthenticatedError
from trunkline.tls.pem import state_of
from trunklined.access.identity import Identity, check_identity_name
from trunklined.access.jwt_terms import FETCH_SECONDS, HTTPS, JwtTerms
from trunklined.access.proof_errors import KeysAwayError, KeysError
from trunklined.access.tokens import PREFIX, StaticTokens, TokenFileError, read_tokens

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


class _Taken:
    """What tokens are checked with, and those that were: whatever else is taken up, it is all of another one of these.

    Args:
        static: static tokens; None: none are taken.
        keys: of signed ones; None: none are taken, or there are none yet.
    """

    def __init__(self, static: StaticTokens | None, keys: Keys | None) -> None:
        self.static = static
        self.keys = keys
        self.known: dict[bytes, Proven] = {}

    @cached_property
    def sources(self) -> frozenset[str]:
        """See `Identity.source`."""
        static = self.static.sources if self.static is not None else frozenset()
        return static | (self.keys.sources if self.keys is not None else frozenset())


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
        """Of what is taken: files and keys at a URL are read in threads of their own."""
        self._fetching: asyncio.Task[None] | None = None
        self._states = self._look()
        self._fetched = 0.0
        self._told = ""
        """Why the keys of now cannot be taken, as it was logged last."""
        self.failures = 0
        self._taken = _Taken(
            read_tokens(self._path) if self._path else None,
            _load(jwt_keys) if jwt_keys and not self._is_fetched else None,
        )
        if self._is_fetched:
            self._fetch()

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
        taken = self._taken
        try:
            known = self._checked(token, taken)
        except UnauthenticatedError as error:
            if error.details.get("why") != "unknown key" or not await self._others_than(taken):
                raise
            known = self._checked(token, self._taken)
        except KeysAwayError:
            if not await self._others_than(taken):
                raise
            known = self._checked(token, self._taken)
        if is_over(known.ends):
            raise UnauthenticatedError("the token has expired", details={"why": "expired"})
        return known

    def holds(self, identity: Identity) -> bool:
        """Returns whether what an identity was proved by counts still."""
        if is_over(identity.ends):
            return False
        return not identity.source or identity.source in self._taken.sources

    def look(self) -> bool:
        """Reads the files that have changed; returns whether anything else is taken. Blocks: for a thread of its own.

        Raises:
            TokenFileError, KeysError: they cannot be taken, which is logged and counted, and changes nothing.
        """
        before, states = self._taken, self._look()
        if states != self._states:
            self._states = states
            self._read_anew()
        return self._taken is not before

    async def fetch_if_due(self) -> bool:
        """Fetches the keys at a URL where they were not for KEYS_SECONDS, or could not be for AGAIN_SECONDS; returns
        whether anything else is taken. Takes as long as the other end does."""
        before = self._taken
        wait = KEYS_SECONDS if before.keys is not None and not self._told else AGAIN_SECONDS
        if (fetching := self._fetch_after(wait)) is not None:
            await asyncio.wait({fetching})
        return self._taken is not before

    def _checked(self, token: str, taken: _Taken) -> Proven:
        """What a token proves, remembered with what it was checked with."""
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = taken.known.get(digest)
        if known is None:
            if len(taken.known) >= MAX_KNOWN:
                taken.known.clear()
            known = taken.known[digest] = self._check(token, taken)
        return known

    def _check(self, token: str, taken: _Taken) -> Proven:
        if taken.static is not None and token.startswith(PREFIX):
            name, source = taken.static.verify(token)
            return Proven(check_identity_name(name), source, None)
        if self._terms is None or not self._keys_at:
            raise UnauthenticatedError("the token is not known", details={"why": "unknown token"})
        if taken.keys is None:
            raise KeysAwayError("the keys that tokens are checked with could not be fetched yet")
        from trunklined.access.jwt import verify

        name, source, ends = verify(token, taken.keys, self._terms)
        return Proven(check_identity_name(name), source, ends)

    async def _others_than(self, taken: _Taken) -> bool:
        """Returns whether something else is taken than that, having fetched the keys where they are at a URL and that
        was not done just now. Waits no longer than they may take."""
        if self._taken is taken and (fetching := self._fetch_after(AGAIN_SECONDS)) is not None:
            await asyncio.wait({fetching}, timeout=FETCH_SECONDS)
        return self._taken is not taken

    def _fetch_after(self, seconds: float) -> asyncio.Task[None] | None:
        """Begins to fetch the keys, where they are at a URL and so long ago were fetched last; returns what is under
        way, which is one at the most. None: nothing is."""
        is_idle = self._fetching is None or self._fetching.done()
        if is_idle and self._is_fetched and time.monotonic() - self._fetched >= seconds:
            self._fetching = asyncio.create_task(asyncio.to_thread(self._fetch), name="fetch the keys of tokens")
        return self._fetching

    def _fetch(self) -> None:
        self._fetched = time.monotonic()
        try:
            keys = _load(self._keys_at)
        except KeysError as error:
            self._tell(error)
            return
        with self._lock:
            if keys != self._taken.keys:
                self._take(_Taken(self._taken.static, keys))
            self._told = ""

    def _read_anew(self) -> None:
        try:
            static = read_tokens(self._path) if self._path else None
            keys = _load(self._keys_at) if self._keys_at and not self._is_fetched else None
        except (TokenFileError, KeysError) as error:
            self._tell(error)
            raise
        with self._lock:
            self._take(_Taken(static, self._taken.keys if self._is_fetched else keys))
            self._told = ""

    def _take(self, taken: _Taken) -> None:
        self._taken = taken
        structlog.get_logger().info("tokens and their keys were read anew")

    def _tell(self, error: TrunklineError) -> None:
        self.failures += 1
        if self._told != error.message:
            self._told = error.message
            is_first = self._is_fetched and self._taken.keys is None
            until = "signed tokens are refused until then" if is_first else "that of before counts on"
            structlog.get_logger().error(f"what tokens are checked with cannot be taken; {until}", reason=error.message)

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
