"""`python -m tests.torture`: everything is killed at random for a while, and nothing may be lost. Exit code 1 if it
was."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.report import line, table
from tests.torture.run import Plan, torture


def main() -> int:
    """Runs it as the arguments say, and prints what it came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seconds", type=_positive, default=720, help="about so many seconds (default: 720)")
    parser.add_argument("--kills", type=_positive, help="how many in that time (default: 400 in 720 seconds)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is killed, and when (default: any)")
    parser.add_argument(
        "--replicas",
        type=int,
        default=0,
        help="so many buses, and two state services, over one Redis, which is killed too; some stand still for longer"
        " than their lease (default: 0, one of each over files)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the ledgers, logs and files also of a clean run")
    words = parser.parse_args()
    kills = words.kills or max(1, round(words.seconds * 400 / 720))
    plan = Plan(kills, float(words.seconds), words.seed, words.replicas)
    directory = Path(tempfile.mkdtemp(prefix="trunkline-"))
    _tell(f"{plan.kills} kills in about {plan.seconds:.0f} s, seed {plan.seed}, files in {directory}")
    outcome = torture(plan, directory, _tell)
    _tell(table(outcome))
    _tell(f"seed {plan.seed}: {line(outcome)}")
    if outcome.is_clean and not words.keep:
        shutil.rmtree(directory)
    else:
        _tell(f"seed {plan.seed}; ledgers, logs and files: {directory}")
    return 0 if outcome.is_clean else 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
