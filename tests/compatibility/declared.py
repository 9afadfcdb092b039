"""The declared contract as messages: what a client has that was made of it, and what a newer one would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

ROOT: Final = Path(__file__).resolve().parents[2]
CONTRACT: Final = ROOT / "protos" / "contract.txtpb"
NEWER_NUMBER: Final = 15_000
"""Of what only a newer contract has."""
NEWER_FIELD: Final = "newer_field"
NEWER_ITEM: Final = "newer_item"


class Contract:
    """Messages of one contract, none of which any generated code knows.

    Args:
        is_newer: each message has a field more, and each oneof a choice more.
    """

    def __init__(self, *, is_newer: bool = False) -> None:
        image = text_format.Parse(CONTRACT.read_text(), FileDescriptorSet())
        self._pool = descriptor_pool.DescriptorPool()
        for file in image.file:
            if is_newer and file.package == "trunkline.v1":
                for message in file.message_type:
                    _extend(message)
            self._pool.Add(file)

    def message(self, name: str, text: str = "") -> Any:
        """A message of trunkline.v1, with what a text says of it."""
        cls = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"trunkline.v1.{name}"))
        return text_format.Parse(text, cls(), descriptor_pool=self._pool)

    def call(self, line: Any, path: str, kind: str = "unary_unary") -> Any:
        """A call by its path, such as "BusService/Publish", as the contract has it."""
        service, name = path.split("/")
        method = self._pool.FindServiceByName(f"trunkline.v1.{service}").FindMethodByName(name)
        answer = message_factory.GetMessageClass(method.output_type)
        make = getattr(line, kind)
        return make(f"/trunkline.v1.{path}", lambda message: message.SerializeToString(), answer.FromString)


def _extend(message: DescriptorProto) -> None:
    for nested in message.nested_type:
        if not nested.options.map_entry:
            _extend(nested)
    optional, text = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.TYPE_STRING
    message.field.add(name=NEWER_FIELD, number=NEWER_NUMBER, label=optional, type=text)
    synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
    for index in range(len(message.oneof_decl)):
        if index not in synthetic:
            number = NEWER_NUMBER + 1 + index
            message.field.add(name=f"{NEWER_ITEM}_{index}", number=number, label=optional, type=text, oneof_index=index)
