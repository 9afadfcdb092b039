"""The command itself."""

from __future__ import annotations

import click

from trunkline import __version__
from trunkline.cli.lazy import Home, LazyGroup
from trunkline.cli.settings import with_settings

COMMANDS = {
    "up": Home("trunkline.cli.up", "up", "Run bus, state and sidecar together in this terminal."),
    "serve": Home("trunkline.cli.serve", "serve", "Run one program: bus, state or sidecar."),
    "demo": Home("trunkline.demo", "command", "See real work flow through the three programs."),
    "publish": Home("trunkline.cli.messages", "publish", "Publish messages on a channel."),
    "subscribe": Home("trunkline.cli.traffic", "subscribe", "Show the messages of a channel or pattern as they pass."),
    "request": Home("trunkline.cli.messages", "request", "Send a request and show its reply."),
    "state": Home("trunkline.cli.records", "state", "Get, list, save, delete and watch records."),
    "durable": Home("trunkline.cli.durables", "durable", "List, show, create, move and delete durable subscriptions."),
    "dead-letters": Home(
        "trunkline.cli.dead_letters", "dead_letters", "Find what was not done, and redrive or purge it."
    ),
    "stats": Home("trunkline.cli.statistics", "stats", "Show what bus and state count and hold."),
    "subscriptions": Home("trunkline.cli.statistics", "subscriptions", "List who subscribes to what."),
    "bench": Home("trunkline.bench", "command", "Measure Trunkline beside its peers."),
}

EPILOG = """\
\b
Exit codes: 0 done; 1 refused or failed, the message on standard error names the error's code; 2 wrong usage;
3 no such record, subscription or dead letter; 4 no answer in time; 5 a service cannot be reached; 130 interrupted.
"""


@click.group(
    cls=LazyGroup,
    homes=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__)
@with_settings
def trunkline() -> None:
    """The main line between agents: publish/subscribe, request/reply and shared state over gRPC.

    Begin with `trunkline up` in one terminal and `trunkline subscribe '>'` in another.
    """
