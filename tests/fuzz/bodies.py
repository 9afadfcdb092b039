"""Bodies of calls: those that are right, those of a message with any values, and both with bytes changed."""

from __future__ import annotations

from random import Random
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict

from tests.access.calls import TABLE, Call

MAX_DEPTH = 5
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
TEXTS = (
    *(
        "",
        "a",
        "c:1",
        "c:*",
        ">",
        "a:>",
        "*",
        ":",
        "a::b",
        "d",
        "jobs",
        "\x00",
        "\x1b[2J",
        "💥",
        " ",
        "../../etc/passwd",
    ),
    *("x" * 300, "a" * 5_000, '{"a": 1}', "[" * 2_000, "NaN", "1e999", "{", "';--", "%s%n", "null", "agent_state/a"),
)


def right_body(call: Call) -> bytes:
    """One that is taken."""
    made: bytes = ParseDict(TABLE[call.name][0], call.message()).SerializeToString()
    return made


def any_body(random: Random, call: Call) -> bytes:
    """One of any kind."""
    kind = random.randrange(4)
    if kind == 0:
        body = right_body(call)
    elif kind == 1:
        body = random.randbytes(random.choice((0, 1, 7, 64, 1_000)))
    else:
        body = any_message(random, call.message.DESCRIPTOR).SerializeToString()
    for _ in range(random.choice((0, 0, 1, 3))):
        body = changed(random, body)
    return body


def any_message(random: Random, descriptor: Any, depth: int = 0) -> Any:
    """A message with any values, mostly those at a bound."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if random.random() < 0.4 or depth > MAX_DEPTH:
            continue
        if field.is_repeated:
            _fill_list(random, message, field, depth)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(any_message(random, field.message_type, depth + 1))
        else:
            setattr(message, field.name, _value(random, field))
    return message


def _fill_list(random: Random, message: Any, field: Any, depth: int) -> None:
    listed = getattr(message, field.name)
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    for _ in range(random.choice((0, 1, 2, 20))):
        if is_map:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            if value.message_type is None:
                listed[_value(random, key)] = _value(random, value)
            else:
                listed[_value(random, key)].CopyFrom(any_message(random, value.message_type, depth + 1))
        elif field.message_type is not None:
            listed.append(any_message(random, field.message_type, depth + 1))
        else:
            listed.append(_value(random, field))


def _value(random: Random, field: Any) -> Any:
    kind = field.cpp_type
    if kind in _BITS:
        low, high = _BITS[kind]
        return random.choice((0, 1, 2, 3, low, high, max(low, -1), high // 2, random.randint(low, high)))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return random.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return random.choice((0, 1, 2, 3, 4, 99, -1))
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return random.choice((0.0, -1.0, 0.5, 1.0, 1e300, float("nan"), float("inf")))
    text = random.choice(TEXTS)
    return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text


def changed(random: Random, data: bytes) -> bytes:
    """The same with some bytes changed, left out, doubled or put in."""
    begin = random.randint(0, len(data))
    end = min(len(data), begin + random.choice((0, 1, 4, 32)))
    put = random.choice((b"", data[begin:end] * 3, random.randbytes(end - begin), random.randbytes(3), b"\xff" * 10))
    return data[:begin] + put + data[end:]
