"""A Docker engine of the tests' own: its data, its socket and its containers end with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.tools import DEBIAN_PLACES, ensure
from tests.patience import PATIENCE


class NoEngineError(Exception):
    """This machine lets nobody start containers; says why."""


class Engine:
    """An engine that runs.

    Args:
        folder: where it has its socket.
        path: where its command and its helpers are found.
    """

    def __init__(self, folder: Path, path: str) -> None:
        self.host = f"unix://{folder}/docker.sock"
        self._environment = {**os.environ, "PATH": path, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}
        self._environment["DOCKER_CONFIG"] = str(folder / "config")

    def docker(self, *arguments: str, timeout: float = 8 * PATIENCE, is_expected_to_fail: bool = False) -> str:
        """Runs its command; returns what it wrote."""
        return self.run("docker", *arguments, timeout=timeout, is_expected_to_fail=is_expected_to_fail)

    def run(self, *command: str, timeout: float = 8 * PATIENCE, is_expected_to_fail: bool = False) -> str:
        """Runs a program that uses the engine's command; returns what it wrote."""
        ran = subprocess.run(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert (ran.returncode != 0) == is_expected_to_fail, f"{' '.join(command)}: {ran.stdout[-4000:]}"
        return ran.stdout.strip()

    def import_debian(self, name: str, *packages: str) -> None:
        """Makes a base image of Debian and these packages, as no image can be pulled."""
        without = (f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "man", "locale"))
        command = [ensure("mmdebstrap"), "--quiet", "--mode=root", "--variant=essential", *without]
        command += [f"--include={','.join(packages)}", "bookworm", "-"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=self._environment) as made:
            subprocess.run(
                ["docker", "import", "-", name],
                stdin=made.stdout,
                env=self._environment,
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=8 * PATIENCE,
            )
        assert made.returncode == 0


@contextmanager
def running() -> Iterator[Engine]:
    """Starts an engine, without a network of its own: containers have none, or the machine's.

    Raises:
        NoEngineError: it ended, or does not come up.
    """
    daemon = ensure("dockerd")
    if os.geteuid() != 0:
        raise NoEngineError("an engine needs root")
    path = os.pathsep.join((str(Path(daemon).parent), *DEBIAN_PLACES, os.environ["PATH"]))
    folder = Path(tempfile.mkdtemp(prefix="trunkline-engine-"))
    options = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    options += ["--host", f"unix://{folder}/docker.sock", "--config-file", f"{folder}/none.json"]
    options += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    (folder / "none.json").write_text("{}")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [daemon, *options], env={**os.environ, "PATH": path}, stdout=log, stderr=log, start_new_session=True
        )
    engine = Engine(folder, path)
    try:
        _await(process, folder)
        yield engine
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        _unmount(folder)
        shutil.rmtree(folder)


def _unmount(folder: Path) -> None:
    """What the engine leaves mounted: the network's namespace of the machine, once a container had it."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for each in sorted((path for path in mounted if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", each], check=True)


def _await(process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while "API listen on" not in (said := (folder / "log").read_text()):
        if process.poll() is not None or time.monotonic() > until:
            raise NoEngineError(f"no engine of containers starts here: {said.strip().splitlines()[-1:]}")
        time.sleep(0.05)
