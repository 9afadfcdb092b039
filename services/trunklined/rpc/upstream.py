"""Connections of a program to another service."""

from __future__ import annotations

from typing import Final

from trunkline.limits import MAX_FRAME_BYTES

RECONNECT_MIN_MS: Final = 50
RECONNECT_MAX_MS: Final = 1_000
"""gRPC waits between two attempts to connect, from the one to the other."""


def upstream_options(keepalive_interval: float, keepalive_timeout: float) -> list[tuple[str, int]]:
    """Returns gRPC channel arguments (grpc/impl/channel_arg_names.h)."""
    return [
        ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
        ("grpc.max_send_message_length", MAX_FRAME_BYTES),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
        ("grpc.keepalive_time_ms", round(keepalive_interval * 1000)),
        ("grpc.keepalive_timeout_ms", round(keepalive_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
