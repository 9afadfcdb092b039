"""How much memory there is: the smallest limit counts, of whatever version of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trunkline.limits import MiB
from trunklined.rpc.memory import available_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/\n", {}, MACHINE),
        ("0::/\n", {"memory.max": "max"}, MACHINE),
        ("0::/\n", {"memory.max": str(64 * MiB)}, 64 * MiB),
        ("0::/a/b\n", {"a/memory.max": str(32 * MiB), "a/b/memory.max": str(48 * MiB)}, 32 * MiB),
        ("0::/a/b\n", {"a/memory.max": "max", "a/b/memory.max": str(48 * MiB)}, 48 * MiB),
        ("0::/of/the/host\n", {"memory.max": str(16 * MiB)}, 16 * MiB),
        ("3:cpu,memory:/a\n2:pids:/\n0::/\n", {"memory/a/memory.limit_in_bytes": str(8 * MiB)}, 8 * MiB),
        ("3:memory:/a\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, MACHINE),
        ("", {"memory.max": str(MiB)}, MACHINE),
    ],
)
def test_the_smallest_limit_counts(tmp_path: Path, groups: str, limits: dict[str, str], expected: int) -> None:
    """A group's, one's above it, or the machine's."""
    (tmp_path / "groups").write_text(groups)
    for name, limit in limits.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    assert available_memory(tmp_path / "groups", tmp_path / "mount") == expected


def test_without_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    """Such as on macOS."""
    assert available_memory(tmp_path / "none", tmp_path / "nowhere") == MACHINE
