"""The command itself."""

from __future__ import annotations

import click

from trunkline import __version__
from trunkline.cli.lazy import Home, LazyGroup
from trunkline.cli.settings import with_settings

COMMANDS = {
    "up": Home("trunkline.cli.services.up", "up", "Run bus, state and sidecar together in this terminal."),
    "serve": Home("trunkline.cli.services.serve", "serve", "Run one program: bus, state or sidecar."),
    "health": Home("trunkline.cli.services.serve", "health", "Ask a program's health, for engines that probe."),
    "certs": Home("trunkline.cli.services.certs", "certs", "Make an authority and certificates, to try TLS with."),
    "access": Home("trunkline.cli.services.serve", "access", "Make tokens, and ask what an access file allows."),
    "backup": Home("trunkline.cli.services.serve", "backup", "Copy data directories while services run, and restore."),
    "migrate": Home("trunkline.cli.services.serve", "migrate", "Copy what bus or state keeps into Redis, or back."),
    "demo": Home("trunkline.demo", "command", "See real work flow through the three programs."),
    "publish": Home("trunkline.cli.bus.messages", "publish", "Publish messages on a channel."),
    "subscribe": Home(
        "trunkline.cli.bus.subscribe", "subscribe", "Show the messages of a channel or pattern as they pass."
    ),
    "request": Home("trunkline.cli.bus.messages", "request", "Send a request and show its reply, or its life."),
    "cancel": Home("trunkline.cli.bus.messages", "cancel", "Cancel a pending request by its id."),
    "state": Home("trunkline.cli.state.records", "state", "Get, list, save, delete and watch records."),
    "durable": Home(
        "trunkline.cli.bus.durables", "durable", "List, show, create, move and delete durable subscriptions."
    ),
    "tasks": Home("trunkline.cli.bus.tasks", "tasks", "List, show, follow, cancel and submit tasks."),
    "dead-letters": Home(
        "trunkline.cli.bus.dead_letters", "dead_letters", "Find what was not done, and redrive or purge it."
    ),
    "services": Home("trunkline.cli.services.services", "services", "Show what bus and state count and hold."),
    "subscriptions": Home("trunkline.cli.services.services", "subscriptions", "List who subscribes to what."),
    "explain": Home("trunkline.cli.bus.inspection", "explain", "Tell who would get a message, and who not and why."),
    "trace": Home("trunkline.cli.bus.inspection", "trace", "Tell what happened to a message."),
    "stuck": Home("trunkline.cli.bus.inspection", "stuck", "Tell what does not move, and why."),
    "tail": Home("trunkline.cli.bus.inspection", "tail", "Show live traffic, thinned out to what can be read."),
    "bench": Home("trunkline.cli.services.bench", "bench", "Measure how fast bus and state are."),
}

_AGENTS = "trunkline.cli.agents.agents"

ORCHESTRATOR_COMMANDS = {
    "ps": Home(_AGENTS, "ps", "Show the agents and how they stand."),
    "list": Home(_AGENTS, "list_", "The same as ps."),
    "start": Home(_AGENTS, "start", "Start an agent."),
    "stop": Home(_AGENTS, "stop", "End an agent."),
    "status": Home(_AGENTS, "status", "Show everything of an agent, or of the orchestrator."),
    "report": Home(_AGENTS, "report", "Write a report to send to somebody, what is wrong first."),
    "stats": Home("trunkline.cli.agents.agent_statistics", "stats", "Show what the agents take, redrawn live."),
    "history": Home("trunkline.cli.agents.agent_history", "history", "Show what happened to the agents."),
    "history-stats": Home("trunkline.cli.agents.agent_history", "history_stats", "Show how often what happened."),
    "dependencies": Home(_AGENTS, "dependencies", "Show which agents need which others."),
    "commands": Home(_AGENTS, "commands", "Show which commands the orchestrator serves."),
    "shutdown": Home(_AGENTS, "shutdown", "End the orchestrator and all its agents."),
}

EPILOG = """\
\b
Exit codes: 0 done; 1 refused or failed, the message on standard error names the error's code; 2 wrong usage;
3 no such record, subscription, task, dead letter or agent; 4 no answer in time; 5 a service or orchestrator
cannot be reached; 130 interrupted.
"""


@click.group(
    cls=LazyGroup,
    homes={"Commands": COMMANDS, "Commands to orchestrators of agents": ORCHESTRATOR_COMMANDS},
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__)
@with_settings
def trunkline() -> None:
    """The main line between agents: publish/subscribe, request/reply and shared state over gRPC.

    Begin with `trunkline up` in one terminal and `trunkline subscribe '>'` in another.
    """
