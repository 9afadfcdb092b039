"""ForwardedRequest: a request that was asked at another replica, and may be answered here."""

from __future__ import annotations

from typing import Protocol

from trunkline.delivery import RequestTerms
from trunkline.errors import TrunklineError
from trunklined.bus.requests import PendingRequest, PendingRequests, Responder, Said


class Asker(Protocol):
    """The replica where a request was asked; told what becomes of it here."""

    def answered(self, request_id: str, said: list[Said]) -> None:
        """Somebody here says something of it."""

    def replied(self, request_id: str, channel: str, message: bytes) -> None:
        """A reply was published here."""

    def given_back(self, request_id: str, *, begun: bool, responder: str) -> None:
        """Nobody here has it any more."""

    def refused(self, request_id: str, error: TrunklineError) -> None:
        """It cannot be taken here."""

    def cancelled(self, request_id: str, by: str, reason: str) -> None:
        """Somebody here calls it off."""

    def done_with(self, request: ForwardedRequest) -> None:
        """It is not pending here any more."""


class ForwardedRequest(PendingRequest):
    """Its end is decided where it was asked; here is known who holds it, and what is said of it is handed on.

    Args:
        asker: where it was asked.
        name: that replica's, for people.
        message_id: of its message.
        timeout: seconds after which it is forgotten here.
        attempts: how often somebody accepted it already.
        credit: how many parts may be sent; None: they are not read.
    """

    __slots__ = ("_asker",)

    def __init__(
        self,
        asker: Asker,
        channel: str,
        message_id: str,
        request_id: str,
        timeout: float,
        terms: RequestTerms,
        attempts: int,
        credit: int | None,
    ) -> None:
        events = None if credit is None else _tell_nobody
        super().__init__(
            0, channel, message_id, request_id, timeout, _tell_nobody, _tell_nobody, terms, credit or 0, events
        )
        self.attempts = attempts
        self._asker: Asker | None = asker

    def offered(self) -> None:
        """Signs of life are expected where it was asked."""

    def leave(self) -> None:
        """Who asked is gone with its replica."""
        self._asker = None
        super().leave()

    def reply(self, channel: str, message: bytes) -> None:
        asker = self._asker
        if self._settle() and asker is not None:
            asker.replied(self.correlation_id, channel, message)

    def fail(self, error: TrunklineError) -> None:
        self._give_back()
        self.call_off("the bus", error.message)

    def lost(self, responder: Responder | None) -> None:
        self._give_back()

    def cancel(self, by: str, reason: str) -> None:
        """Asks for it to be cancelled where it was asked; that calls off who holds it."""
        if self._asker is not None:
            self._asker.cancelled(self.correlation_id, by, reason)
        elif self._settle():
            self.call_off(by, reason)

    def end(self, by: str, reason: str) -> None:
        """It need not be answered any more: who holds it is told."""
        if self._settle():
            self.call_off(by, reason)

    def forget(self) -> None:
        """It was answered elsewhere; who holds it is not called off."""
        self._settle()

    def give_up(self) -> None:
        """Nobody here can answer it; for one that is not pending yet."""
        if self._asker is not None:
            self._asker.given_back(self.correlation_id, begun=False, responder="")

    def refuse(self, error: TrunklineError) -> None:
        """It cannot be taken here; for one that is not pending yet."""
        if self._asker is not None:
            self._asker.refused(self.correlation_id, error)

    def _give_back(self) -> None:
        asker = self._asker
        if self._settle() and asker is not None:
            asker.given_back(self.correlation_id, begun=self.begun, responder=self.responder_name)

    def _tell(self, pending: PendingRequests, events: list[Said], end: Said | None) -> None:
        if self._asker is not None:  # also where nothing is told: it is a sign of life
            self._asker.answered(self.correlation_id, events)

    def _settle(self, why: str = "") -> bool:
        asker, is_first = self._asker, super()._settle(why)
        if is_first and asker is not None:
            asker.done_with(self)
        return is_first


def _tell_nobody(*_: object) -> None:
    """Takes what is told otherwise."""
