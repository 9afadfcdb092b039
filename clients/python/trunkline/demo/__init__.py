"""The demo: a team of agents measures a folder of sources, through a bus, a state service and a sidecar.

Read it in this order; each file is one noun:

cli                      the command `trunkline demo`
run                      one run: programs, team, the three phases, report
coordinator, ledger      who stores the tasks and hears what came of them; which file stands where
agent                    what all agents share
coding_agent, measuring  who measures files, and how
review_agent             who checks the figures
external_agent           a program of its own: standard library, lines of JSON on a UNIX socket
team, posts              an orchestrator's agents, and that program; who they are and where they speak
audit                    the coordinator asks whether what is stored is right, and hears how far that is
accident                 one of them is killed, and the bus itself
programs                 bus, state and sidecar: those that run already, and a local stack of the others
workflow, progress       the stored state of the run, and who watches it
traffic, kept            what the programs counted; what the bus kept
report, tables           what people and scripts see in the end
sources, narrator, limits
"""

from trunkline.demo.cli import command, main

__all__ = ["command", "main"]
