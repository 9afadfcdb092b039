"""`python -m tests.fuzz`: looks for what no input may cause, for a while. Exit code 1 if it was found.

With atheris the code that ran steers it; without, examples are made at random.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

CALLS = "calls"
NAMES = ("lines", "tokens", "claims", "token_files", "patterns", "access_files", CALLS)
MAX_BYTES = 8_192


def main() -> int:
    """Fuzzes as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=NAMES, help="what to feed (default: each, one after the other)")
    parser.add_argument("--seconds", type=int, default=60, help="for so many seconds each (default: 60)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of what is made at random (default: any)")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps what was of interest, for the next run")
    words = parser.parse_args()
    if words.target is None:
        return _each(words)
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: examples are made at random", file=sys.stderr)  # noqa: T201
        _at_random(words.target, words.seconds, words.seed)
        return 0
    with atheris.instrument_imports(include=["trunkline", "trunklined"]):
        _load()
    with _feeding(words.target) as feed:
        corpus = words.corpus / words.target if words.corpus else Path(tempfile.mkdtemp(prefix="trunkline-fuzz-"))
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(_seeds(words.target)):
            (corpus / f"seed-{number}").write_bytes(seed)
        limits = (f"-max_total_time={words.seconds}", f"-seed={words.seed}", f"-max_len={MAX_BYTES}", "-timeout=30")
        atheris.Setup([sys.argv[0], *limits, "-rss_limit_mb=1024", f"-artifact_prefix={corpus}/", str(corpus)], feed)
        atheris.Fuzz()  # which ends the process
    return 0


def _each(words: argparse.Namespace) -> int:
    """One process for each: the library ends the one that it runs in."""
    codes = []
    for name in NAMES:
        options = ["--target", name, "--seconds", str(words.seconds), "--seed", str(words.seed)]
        options += ["--corpus", str(words.corpus)] if words.corpus else []
        codes.append(os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-m", "tests.fuzz", *options]))
    return int(any(codes))


def _load() -> None:
    """Loads what is to be followed."""
    import tests.fuzz.local
    import tests.fuzz.targets  # noqa: F401


@contextmanager
def _feeding(name: str) -> Iterator[Callable[[bytes], None]]:
    from tests.fuzz.targets import TARGETS

    if name != CALLS:
        yield TARGETS[name]
        return
    from tests.fuzz.local import local_services

    with local_services() as feed:
        yield feed


def _seeds(name: str) -> list[bytes]:
    from tests.fuzz.targets import seeds

    if name != CALLS:
        return seeds()[name]
    from tests.fuzz.local import call_seeds

    return call_seeds()


def _at_random(name: str, seconds: float, seed: int) -> None:
    from tests.fuzz.bodies import changed

    random, began = Random(seed), time.monotonic()
    examples = _seeds(name)
    with _feeding(name) as feed:
        while time.monotonic() - began < seconds:
            data = random.choice(examples)
            for _ in range(random.choice((0, 1, 2, 8))):
                data = changed(random, data)
            feed(data[:MAX_BYTES])


if __name__ == "__main__":
    sys.exit(main())
