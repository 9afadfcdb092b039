"""Lines out of a stream of bytes, whatever the reads cut it into."""

from __future__ import annotations


class LineTooLongError(ValueError):
    """A line was longer than the limit. Nothing of it was kept."""

    def __init__(self, limit: int, size: int, *, ended: bool) -> None:
        super().__init__(
            f"a line may have {limit} bytes; this one has {size}" + ("" if ended else " and has not ended")
        )


class LineBuffer:
    """Collects bytes and gives them back as lines.

    Args:
        limit: the longest line in bytes, without its newline. No more than that and one read is ever held.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._searched = 0
        self._passed_over = 0
        """How much came, and was dropped, of a line that is over the limit and has not ended."""
        self._refused = False
        """Whether `refuse` was called for that line."""

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Adds what was read."""
        self._data += data

    def next(self) -> bytes | None:
        """Returns the next whole line without its newline; None where there is none.

        Raises:
            LineTooLongError: the next line is over the limit. Raised once, at its end, with its size.
        """
        while True:
            end = self._data.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(self._data)
                if self._passed_over or len(self._data) > self._limit:
                    self._passed_over += len(self._data)
                    self._drop(len(self._data))
                return None
            size, refused = self._passed_over + end, self._refused
            line = bytes(self._data[:end]) if size <= self._limit else b""
            self._drop(end + 1)
            self._passed_over, self._refused = 0, False
            if size <= self._limit:
                return line
            if not refused:
                raise LineTooLongError(self._limit, size, ended=True)

    @property
    def is_overlong(self) -> bool:
        """Whether what has come of a line is over the limit, and `refuse` was not called for it."""
        return self._passed_over > 0 and not self._refused

    def refuse(self) -> LineTooLongError:
        """Returns the error of the line that `is_overlong` before its end has come; `next` raises none for it then."""
        self._refused = True
        return LineTooLongError(self._limit, self._passed_over, ended=False)

    def peek(self) -> bytearray:
        """Returns what has come of a line that is not complete. Not to be changed."""
        return self._data

    def take_rest(self) -> bytes:
        """Takes what has come of a line that is not complete."""
        rest = bytes(self._data)
        self._drop(len(rest))
        return rest

    def _drop(self, count: int) -> None:
        del self._data[:count]
        self._searched = 0
