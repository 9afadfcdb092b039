"""Starts each language's runner, and gives it steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from typing import Any

from tests.patience import PATIENCE
from tests.polyglot.languages import Language


class Runner:
    """One language's program that does steps; its clients are called by its part."""

    def __init__(self, language: Language, part: str = "a") -> None:
        self.language = language.name
        self.client_name = f"läufer {part} ({language.name})"
        self.process = subprocess.Popen(
            language.runner(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=language.folder,
            env={**os.environ, "TRUNKLINE_CLIENT_NAME": self.client_name},
        )

    def do(self, step: dict[str, Any]) -> dict[str, Any]:
        """Does a step and returns what it answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        watchdog = threading.Timer(3 * PATIENCE, self.process.kill)
        watchdog.start()
        try:
            self.process.stdin.write(json.dumps(step).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        assert line, f"the {self.language} runner ended at {step}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()
