"""What the errors of Redis mean: whether something was done, whether it may be tried again, and what callers hear."""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MaxConnectionsError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as LateError

from trunkline.errors import OverloadedError, StorageError, StorageUnavailableError
from trunklined.redis.target import Target

ELSEWHERE: Final = (ReadOnlyError, MovedError, AskError, ClusterDownError)
"""The server is not the master of the keys, or not any more: another one is looked for. (`ClusterDownError` is also the
base of the error of a replica that lost its master.)"""


class NotConnectedError(LostError):
    """No connection was made: nothing was sent."""


class UnansweredError(StorageUnavailableError):
    """It was sent, and no answer came: whether it was done is not known."""


def is_temporary(error: BaseException) -> bool:
    """Returns whether Redis did nothing of what was sent, and may do it a little later."""
    return isinstance(error, (NotConnectedError, BusyLoadingError, TryAgainError, MaxConnectionsError, *ELSEWHERE)) or (
        isinstance(error, ResponseError) and str(error).startswith(("NOREPLICAS", "BUSY "))
    )


def is_unanswered(error: BaseException) -> bool:
    """Returns whether it was sent and not answered: it may be done, or not, or yet."""
    return isinstance(error, (LostError, LateError)) and not isinstance(error, (NotConnectedError, AuthenticationError))


def translate(error: RedisError, target: Target) -> StorageError | OverloadedError:
    """Returns what callers hear of an error of Redis; its text has no password.

    `StorageUnavailableError`: nothing was done; its class `UnansweredError`: that is not known; `OverloadedError`: its
    memory is full; a plain `StorageError`: it refuses, and will again.
    """
    if isinstance(error, OutOfMemoryError):
        return OverloadedError(
            f"Redis takes no more writes: its maxmemory is reached ({target})", details={"limit": "redis_maxmemory"}
        )
    if isinstance(error, AuthenticationError) or _says(error, "NOAUTH", "WRONGPASS"):
        return StorageError(f"Redis refuses user or password ({target}): {error}")
    if isinstance(error, NoPermissionError):
        return StorageError(f"Redis's ACL does not permit what is needed ({target}): {error}")
    if is_temporary(error):
        return StorageUnavailableError(f"Redis is not available, nothing was done ({target}): {error}")
    if is_unanswered(error):
        return UnansweredError(f"Redis did not answer, whether it was done is not known ({target}): {error}")
    return StorageError(f"Redis refuses ({target}): {error}")


def _says(error: RedisError, *codes: str) -> bool:
    return str(error).startswith(codes)
