"""RedisMessageBus: the name of a bus that ConductorAI planned for production, for programs that import it."""

from __future__ import annotations

from typing import NoReturn

from trunkline.bus.message_bus import MessageBus


class RedisMessageBus(MessageBus):
    """There is none, and there never was: every method of ConductorAI's was a stub that raised NotImplementedError.

    Here making one raises it, before anything is relied upon, and says what to take instead.
    """

    def __new__(cls, redis_url: str = "redis://localhost:6379/0") -> NoReturn:
        raise NotImplementedError(
            "there is no RedisMessageBus: take GrpcMessageBus(address), whose BusService carries messages between "
            "processes and keeps on disk what is stored, without Redis"
        )
