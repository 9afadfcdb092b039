"""The command `trunkline`: for people tables and colour, for scripts `--format json` and exit codes.

root         the command itself; each subcommand is loaded when it is called
settings     the options of every subcommand: addresses and format
clients      the clients of bus and state for these addresses
exit_codes   how a subcommand ends, and how errors are reported
output       tables, JSON, and text made safe for a terminal
describe     messages as plain dicts, and as text
messages     publish, request, cancel; stored_publish keeps many stored messages in flight
subscribe    subscribe; followers are its subscriptions, message_lines shows what passes
records      state get, list, save, delete, watch
leases       state leases, state agents
durables     durable list, show, create, seek, delete; durable_view shows them
tasks        tasks list, show, follow, cancel, submit; task_view shows them
dead_letters dead-letters list, show, redrive, purge; dead_letter_filter says which, dead_letter_view shows them
times        times, ages and spans, as people write and read them
confirmation asking before something is removed
services     services, subscriptions
agents       ps, list, start, stop, status, dependencies, commands, report, shutdown; agents_view, report_view show them
agent_history, agent_statistics   history, history-stats; stats
orchestrators, orchestrator_socket, command_connection   whom these ask, and how
serve        serve bus|state|sidecar; health, which probe does alone
bench        how fast a deployment is, seen from here; measuring does it
up           the three programs together in one terminal
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script. A probe's cost is that of its imports: it goes by what the others need."""
    if sys.argv[1:2] == ["health"]:
        from trunkline.cli.services.probe import main as probe

        sys.exit(probe(sys.argv[2:]))
    from trunkline.cli.root import trunkline

    trunkline(prog_name="trunkline")
