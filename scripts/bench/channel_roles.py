"""Roles of a MessageChannel: who receives from a thread and from a process, and the two sides of its socket."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from scripts.bench.barrier import Barrier, Figures
from scripts.bench.payload import TEXT
from scripts.bench.peer import Peer, ProcessMessages, Receive, ThreadMessages
from trunkline.message_channel import ChannelClosedError, MessageChannel, ServiceMessage

SOCKET: Final = "commands.sock"
"""In the folder of the run, in which all its roles are."""

READ_BYTES: Final = 256 * 1024
COMMAND: Final = json.dumps(
    {
        "sender": "cli",
        "type": "COMMAND",
        "payload": json.dumps({"command": "ps", "args": []}),
        "timestamp": "2025-07-27T10:00:00.123456",
    }
)
ANSWER: Final = json.dumps({"status": "success", "data": TEXT})


async def thread_receiver(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Receives `count` messages that a thread of its process sends."""
    assert isinstance(peer, ThreadMessages)
    await barrier()
    with peer.from_thread(order["count"]) as receive:
        return _received(receive, order["count"])


async def process_receiver(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Receives `count` messages that a spawned process sends."""
    assert isinstance(peer, ProcessMessages)
    await barrier()
    with peer.from_process(order["count"]) as receive:
        return _received(receive, order["count"])


async def commanded(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """An owner in unix_socket mode that answers every command, one after the other, until its process is ended."""
    with MessageChannel("unix_socket", SOCKET) as channel:
        await barrier()
        await asyncio.to_thread(_answer, channel)
    return {}


async def commander(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """One client of that socket: `count` commands, of which `in_flight` wait for their answers."""
    count, in_flight = order["count"], order["in_flight"]
    command = COMMAND.encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(SOCKET)
        await barrier()
        began = time.monotonic()
        sent = answered = 0
        while answered < count:
            more = min(in_flight - (sent - answered), count - sent)
            if more:
                client.sendall(command * more)
                sent += more
            answers = client.recv(READ_BYTES)
            if not answers:
                raise ConnectionError(f"the owner closed the connection after {answered} answers")
            answered += answers.count(b"\n")
        return {"done": answered, "seconds": time.monotonic() - began}


def _received(receive: Receive, count: int) -> Figures:
    """From the first message on: how long the sender took to start is not measured."""
    receive()
    began = time.monotonic()
    for _ in range(count - 1):
        receive()
    return {"done": count - 1, "seconds": time.monotonic() - began}


def _answer(channel: MessageChannel) -> None:
    while True:
        try:
            command = channel.receive()
        except ChannelClosedError:
            return
        if command is not None:
            channel.reply(command, ServiceMessage("orchestrator", "STATUS", ANSWER))
