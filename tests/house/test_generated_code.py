"""The committed generated code is that of the protos, and stale code is caught."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from scripts.tools import NODE_PACKAGES, TOOLS

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
    for generated in ("clients/python/trunkline/v1", "clients/go/v1", "clients/typescript/src/gen"):
        shutil.copytree(ROOT / generated, target / generated)
    shutil.copy2(ROOT / "clients/typescript/package-lock.json", target / "clients/typescript")
    (target / "clients/typescript/node_modules").symlink_to(NODE_PACKAGES)
    shutil.copytree(ROOT / "clients/rust", target / "clients/rust")
    (target / "scripts").mkdir()
    for script in ("generate_protos.py", "tools.py"):
        shutil.copy(ROOT / "scripts" / script, target / "scripts")
    (target / ".tools").symlink_to(TOOLS)
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
    assert "error.pb.go" in done.stdout
    assert "error_pb.ts" in done.stdout
    assert "trunkline.v1.rs" in done.stdout
    assert "make protos" in done.stdout


def test_code_of_a_removed_proto_is_caught(tmp_path: Path) -> None:
    """A generated file that no proto makes any more is caught, in each language."""
    gone = ("gone_pb2.py", "gone.pb.go", "gone_pb.ts", "gone.rs")
    tree = scratch_copy(tmp_path)
    for name, made in zip(gone, ("error_pb2.py", "error.pb.go", "error_pb.ts", "trunkline.v1.rs"), strict=True):
        [beside] = (tree / "clients").rglob(made)
        beside.with_name(name).write_text("")
    done = check(tree)
    assert done.returncode == 1
    complaints = [line.split(" are committed")[0] for line in done.stdout.splitlines()]
    for name in gone:
        assert any(name in complaint for complaint in complaints), done.stdout
