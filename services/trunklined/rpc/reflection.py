"""Reflection: what tools such as grpcurl learn of the calls from a program itself, with the comments of the protos."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

OLD: Final = "grpc.reflection.v1alpha"
NEW: Final = "grpc.reflection.v1"
"""Newer tools ask for this one first. Its messages are the same, but for the package."""
_DESCRIPTORS: Final = "descriptors.binpb"


class _Pool:
    """The pool of all descriptors, which finds calls by their names, too."""

    def __getattr__(self, name: str) -> Any:
        return getattr(descriptor_pool.Default(), name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802  # protobuf's name
        pool = descriptor_pool.Default()
        try:
            return pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, call = symbol.rpartition(".")
            return pool.FindServiceByName(service).FindMethodByName(call).containing_service.file


_Servicer: Any = ReflectionServicer
"""Its types say of its one method what it does not do."""


class _WithComments(_Servicer):  # type: ignore[misc]
    """Answers with the files of the protos as they were written: what Python keeps of them has no comments."""

    async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  # gRPC's name
        async for answer in super().ServerReflectionInfo(requests, context):
            files = answer.file_descriptor_response.file_descriptor_proto
            for index, encoded in enumerate(files):
                name = descriptor_pb2.FileDescriptorProto.FromString(encoded).name
                files[index] = _with_comments().get(name, encoded)
            yield answer


def serve_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Serves reflection of some services, by their full names, and of itself, in both versions."""
    _describe_new()
    names = (*services, reflection.SERVICE_NAME, reflection.SERVICE_NAME.replace(OLD, NEW))
    servicer = _WithComments(names, _Pool())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for package in (OLD, NEW):
        service = f"{package}.ServerReflection"
        handlers = grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": handler})
        server.add_generic_rpc_handlers((handlers,))


@cache
def _with_comments() -> Mapping[str, bytes]:
    """The files of the protos, encoded, by their names; read when somebody asks for one."""
    raw = resources.files("trunkline.v1").joinpath(_DESCRIPTORS).read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(raw).file
    for file in files:
        _name_as_written(file.message_type)
    return {file.name: file.SerializeToString() for file in files}


def _name_as_written(messages: Iterable[Any]) -> None:
    """Leaves fields the names that the protos give them: tools then show `sender_id`, as all of our own do."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _name_as_written(message.nested_type)


@cache
def _describe_new() -> None:
    """Makes the new version known, so that it can be described, too."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = file.name.replace("v1alpha", "v1"), NEW
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(OLD, NEW)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(OLD, NEW)
            method.output_type = method.output_type.replace(OLD, NEW)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
