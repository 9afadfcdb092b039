"""The committed generated code is that of the protos, and stale code is caught."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def check(tree: Path) -> subprocess.CompletedProcess[str]:
    """Runs the freshness check of a tree."""
    return subprocess.run(
        [sys.executable, str(tree / "scripts" / "generate_protos.py"), "--check"],
        check=False,
        capture_output=True,
        text=True,
    )


def scratch_copy(target: Path) -> Path:
    """What the check needs, copied."""
    shutil.copytree(ROOT / "protos", target / "protos")
    shutil.copytree(ROOT / "clients/python/trunkline/v1", target / "clients/python/trunkline/v1")
    (target / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "generate_protos.py", target / "scripts")
    return target


def test_the_committed_code_is_fresh() -> None:
    """Generating anew changes nothing."""
    done = check(ROOT)
    assert done.returncode == 0, done.stdout


def test_a_changed_proto_makes_it_stale(tmp_path: Path) -> None:
    """A field that was added to a proto alone is caught, and the way out is named."""
    tree = scratch_copy(tmp_path)
    proto = tree / "protos/trunkline/v1/error.proto"
    proto.write_text(proto.read_text().replace("int32 code = 4;", "int32 code = 4;\n  int32 added = 5;"))
    done = check(tree)
    assert done.returncode == 1
    assert "error_pb2.py" in done.stdout
    assert "make protos" in done.stdout


def test_code_of_a_removed_proto_is_caught(tmp_path: Path) -> None:
    """A generated file that no proto makes any more is caught."""
    tree = scratch_copy(tmp_path)
    (tree / "clients/python/trunkline/v1/gone_pb2.py").write_text("")
    assert check(tree).returncode == 1
