"""Passthrough types: wire messages of trunkline.v1 in which an embedded message is left as its encoded bytes.

On the wire, a field of type `Message` and a field of type `bytes` look the same. A bus that only passes messages on, or
a client that collects them for sending, therefore need not build or copy them: it reads and writes the passthrough
type, and the other side sees the public type. Passthrough types are derived from the public descriptors, so the two
cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.message import Message


class PassthroughTypes:
    """The messages of one proto file, with some of their fields opaque.

    Args:
        file: the public file.
        fields: of each message (by its name within the file), the names of the fields that become bytes. Whether one
            that is not repeated is set can be asked as before.

    Raises:
        ValueError: a field holds no message.

    `types["OpenStreamRequest.ClientItem"]` is the passthrough class of that name within the file.
    """

    def __init__(self, file: FileDescriptor, fields: Mapping[str, tuple[str, ...]]) -> None:
        pool = descriptor_pool.DescriptorPool()
        for dependency in _dependencies(file):
            pool.AddSerializedFile(dependency.serialized_pb)
        derived = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
        del derived.service[:]
        for message_name, field_names in fields.items():
            _make_opaque(derived, message_name, field_names)
        pool.AddSerializedFile(derived.SerializeToString())
        self._pool = pool
        self._package = file.package

    def __getitem__(self, name: str) -> Any:
        found: type[Message] = message_factory.GetMessageClass(
            self._pool.FindMessageTypeByName(f"{self._package}.{name}")
        )
        return found


def _dependencies(file: FileDescriptor) -> list[FileDescriptor]:
    found: dict[str, FileDescriptor] = {}
    for dependency in file.dependencies:
        for deeper in (*_dependencies(dependency), dependency):
            found.setdefault(deeper.name, deeper)
    return list(found.values())


def _make_opaque(file: descriptor_pb2.FileDescriptorProto, message_name: str, field_names: tuple[str, ...]) -> None:
    levels = message_name.split(".")
    found: DescriptorProto = next(message for message in file.message_type if message.name == levels[0])
    for level in levels[1:]:
        found = next(message for message in found.nested_type if message.name == level)
    for field_name in field_names:
        field = next(field for field in found.field if field.name == field_name)
        if field.type != FieldDescriptorProto.TYPE_MESSAGE:
            raise ValueError(f"{message_name}.{field_name} holds no message")
        field.type = FieldDescriptorProto.TYPE_BYTES
        field.ClearField("type_name")
        if field.label != FieldDescriptorProto.LABEL_REPEATED and not field.HasField("oneof_index"):
            # A field of bytes knows whether it is set only where it is `optional`, which is a oneof of its own.
            field.proto3_optional = True
            field.oneof_index = len(found.oneof_decl)
            found.oneof_decl.add(name=f"_{field_name}")


@cache
def bus_passthrough() -> PassthroughTypes:
    """bus.proto with every `Message`, and every event of a life, left encoded."""
    from trunkline.v1 import bus_pb2

    return PassthroughTypes(
        bus_pb2.DESCRIPTOR,
        {
            "PublishRequest": ("messages",),
            "RequestRequest": ("message",),
            "RequestResponse": ("message",),
            "RequestStreamResponse": ("events",),
            "RespondRequest": ("events",),
            "SubscribeResponse.Deliveries": ("messages",),
        },
    )


@cache
def state_passthrough() -> PassthroughTypes:
    """state.proto with the body of every record, every `Error` and every `Message` left encoded."""
    from trunkline.v1 import state_pb2

    bodies = ("agent_state", "workflow_state", "task_result", "agent_presence")
    return PassthroughTypes(
        state_pb2.DESCRIPTOR,
        {
            "SaveRequest": bodies,
            "Record": (*bodies, "lease"),
            "OutboxMessage": ("message",),
            "BatchResponse.Outcome": ("error",),
            "OpenStateStreamResponse.ServerItem": ("error",),
        },
    )
