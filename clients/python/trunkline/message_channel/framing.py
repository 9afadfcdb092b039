"""Lines out of a stream of bytes, whatever the reads cut it into."""

from __future__ import annotations


class LineTooLongError(ValueError):
    """A line was longer than the limit. Said once; the rest of it is passed over."""


class LineBuffer:
    """Collects bytes and gives them back as lines.

    Args:
        limit: the longest line in bytes, without its newline. No more than that and one read is ever held.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._searched = 0
        self._passing_over = False

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Adds what was read."""
        self._data += data

    def next(self) -> bytes | None:
        """The next whole line without its newline; None where there is none.

        Raises:
            LineTooLongError: the next line is over the limit.
        """
        while True:
            end = self._data.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(self._data)
                if self._passing_over:
                    self._drop(len(self._data))
                elif len(self._data) > self._limit:
                    self._drop(len(self._data))
                    self._passing_over = True
                    raise LineTooLongError(f"a line may have {self._limit} bytes; this one has more")
                return None
            if self._passing_over:
                self._passing_over = False
                self._drop(end + 1)
                continue
            line = bytes(self._data[:end])
            self._drop(end + 1)
            if len(line) > self._limit:
                raise LineTooLongError(f"a line may have {self._limit} bytes; this one has {len(line)}")
            return line

    def peek(self) -> bytearray:
        """What has come of a line that is not complete. Not to be changed."""
        return self._data

    def take_rest(self) -> bytes:
        """What has come of a line that is not complete; it counts as taken."""
        rest = bytes(self._data)
        self._drop(len(rest))
        return rest

    def _drop(self, count: int) -> None:
        del self._data[:count]
        self._searched = 0
