"""The memory that a program has: that of the machine, or what its control group may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_HIERARCHIES = (("", "", "memory.max"), ("memory", "memory", "memory.limit_in_bytes"))
"""Of version 2 and 1: the controller in /proc/self/cgroup, its folder, and the file that has the limit."""


def available_memory(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns bytes: the smallest limit of the program's control groups (what Kubernetes and systemd set), or the
    machine's memory, where that is less; 0 where neither is known.

    Args:
        groups: the file that says which groups the program is in.
        mount: where the groups are.
    """
    return min([*_limits(groups, mount), *_of_machine()], default=0)


def _limits(groups: Path, mount: Path) -> Iterator[int]:
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller, folder, name in _HIERARCHIES:
            if controller not in controllers.split(","):
                continue
            # Each group bounds those within it. In a container the path may be the host's, and the group is the root.
            group = mount / folder
            for part in ("", *path.strip("/").split("/")):
                group /= part
                try:
                    limit = (group / name).read_text().strip()
                except OSError:
                    continue
                if limit.isdecimal():  # else "max": no limit
                    yield int(limit)


def _of_machine() -> Iterator[int]:
    try:
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return  # not said on this system
