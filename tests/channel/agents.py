"""What spawned processes do in the tests."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

from trunkline.message_channel import ChannelClosedError, MessageChannel, ServiceMessage

SPAWN = get_context("spawn")


def start(work: Any, *arguments: Any) -> BaseProcess:
    """A spawned process that does `work(*arguments)`."""
    process = SPAWN.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def echo(end: Any) -> None:
    """Answers each message to the owner, and "to NAME: TEXT" to NAME; ends at "stop" or when the owner has gone."""
    while True:
        try:
            message = end.receive()
        except ChannelClosedError:
            return
        if message.payload == "stop":
            return
        target, colon, text = message.payload.removeprefix("to ").partition(": ")
        if colon:
            end.send(target, ServiceMessage(end.name, "STATUS", text))
        else:
            end.send("orchestrator", ServiceMessage(end.name, "STATUS", f"{end.name} got {message.payload}"))


def answer_each(end: Any, by_reply: bool) -> None:
    """Answers each command to whoever sent it."""
    end.send("orchestrator", ServiceMessage(end.name, "STATUS", "agent_ready"))
    while (message := end.receive()).payload != "stop":
        answer = ServiceMessage(end.name, "STATUS", f"did {message.payload}")
        if by_reply:
            end.reply(message, answer)
        else:
            end.send(message.sender, answer)


def speak_as(channel: Any, name: str) -> None:
    """The seed's agent, with the channel itself: says that it started, then answers one message."""
    channel.send("orchestrator", ServiceMessage(name, "STATUS", "agent_started"))
    message = channel.receive(10)
    channel.send("orchestrator", ServiceMessage(name, "STATUS", f"got {message.payload}"))


def say_and_exit(end: Any, count: int, size: int) -> None:
    """Sends much and ends at once."""
    for number in range(count):
        end.send("orchestrator", ServiceMessage(end.name, "STATUS", f"{number:06d}" + "x" * size))


def say_and_hang(end: Any, size: int) -> None:
    """Sends without end, until it is killed."""
    while True:
        end.send("orchestrator", ServiceMessage(end.name, "STATUS", "x" * size))


def wait_for_owner_to_go(end: Any, path: str) -> None:
    """Writes how waiting for a message ended."""
    end.send("orchestrator", ServiceMessage(end.name, "STATUS", f"{os.getpid()}"))
    try:
        end.receive()
    except ChannelClosedError:
        with open(path, "w") as file:
            file.write("the owner has gone")


def own_a_channel_and_hang(path: str) -> None:
    """An owner with a spawned agent, to be killed."""
    channel = MessageChannel("process")
    SPAWN.Process(target=wait_for_owner_to_go, args=(channel.endpoint("orphan"), path)).start()
    assert channel.receive(30) is not None
    with open(path, "w") as file:
        file.write("started")
    time.sleep(60)


def serve_socket(path: str, ready: Any) -> None:
    """Another program with a socket, which answers one client."""
    with MessageChannel("unix_socket", path) as channel:
        ready.set()
        for _ in range(600):
            message = channel.receive()
            if message is not None and message.payload == "stop":
                return
            if message is not None:
                channel.reply(message, ServiceMessage("other", "STATUS", "alive"))


def connect_as_user(path: str, uid: int, results: Any) -> None:
    """Connects as another user, and tells what came."""
    import socket

    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        try:
            client.connect(path)
            with suppress(BrokenPipeError):  # who is denied may be closed already; why is there to be read
                client.sendall(b'{"sender":"cli","type":"COMMAND","payload":"shutdown"}\n')
            results.put(client.recv(65_536).decode())
        except OSError as error:
            results.put(type(error).__name__)


def crowd(path: str, count: int, results: Any) -> None:
    """Opens so many connections that say nothing, and tells what each was told before it was closed."""
    import resource
    import socket

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 4_096, hard))
    clients = []
    for _ in range(count):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)  # waits while the backlog is full, as it would not with a timeout
        client.settimeout(60)
        clients.append(client)
    results.put("all are connected")
    told = []
    for client in clients:
        text = b""
        with suppress(ConnectionResetError):
            while data := client.recv(65_536):
                text += data
        told.append(text.decode())
        client.close()
    results.put(told)
