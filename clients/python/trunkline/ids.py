"""Ids of messages and tasks, as clients and services make them."""

from __future__ import annotations

import os
from typing import Final

_ID_BATCH: Final = 256
_ID_LENGTH: Final = 36
_HEX_PLACES: Final = tuple(place for place in range(_ID_LENGTH) if place not in (8, 13, 18, 23))
_VERSION_PLACE: Final = 14
_VARIANT_PLACE: Final = 19
_TO_VARIANT: Final = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)
_ids: list[str] = []


def new_id() -> str:
    """A random UUID (RFC 9562, version 4) as text.

    `uuid.uuid4()` asks the kernel for each and builds an object of it; here one question yields 256 of them, and one
    step writes the same place of all of them.
    """
    try:
        return _ids.pop()
    except IndexError:
        noise = os.urandom(16 * _ID_BATCH).hex().encode()
        text = bytearray(b"-" * (_ID_LENGTH * _ID_BATCH))
        for index, place in enumerate(_HEX_PLACES):
            text[place::_ID_LENGTH] = noise[index::32]
        text[_VERSION_PLACE::_ID_LENGTH] = b"4" * _ID_BATCH
        text[_VARIANT_PLACE::_ID_LENGTH] = text[_VARIANT_PLACE::_ID_LENGTH].translate(_TO_VARIANT)
        written = text.decode()
        _ids.extend([written[start : start + _ID_LENGTH] for start in range(0, len(written), _ID_LENGTH)])
        return _ids.pop()


os.register_at_fork(after_in_child=_ids.clear)  # else parent and child would hand out the same ids
