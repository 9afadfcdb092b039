"""Varints: numbers as protobuf writes them, seven bits a byte, the lowest first."""

from __future__ import annotations


def write_varint(number: int) -> bytes:
    """Writes a number, from -2^63 (as its two's complement) to 2^64 - 1."""
    if 0 <= number < 0x80:
        return bytes((number,))
    if number < 0:
        number += 1 << 64
    octets = []
    while number >= 0x80:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)
