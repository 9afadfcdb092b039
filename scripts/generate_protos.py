"""Generates clients/python/trunkline/v1 from protos/; with --check, only says whether it is fresh."""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "protos").glob("trunkline/v1/*.proto"))
TARGET = ROOT / "clients" / "python"


def generate(target: Path) -> list[Path]:
    """Runs protoc into `target` and returns the generated files, relative to it."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={ROOT / 'protos'}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            *map(str, SOURCES),
        ],
        check=True,
    )
    with_services = [str(source) for source in SOURCES if "\nservice " in source.read_text()]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={ROOT / 'protos'}",
            f"--grpc_python_out={target}",
            *with_services,
        ],
        check=True,
    )
    return sorted(path.relative_to(target) for path in (target / "trunkline" / "v1").glob("*_pb2*.py*"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the committed code is stale")
    if not parser.parse_args().check:
        generate(TARGET)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        files = generate(Path(scratch))
        committed = sorted(path.relative_to(TARGET) for path in (TARGET / "trunkline" / "v1").glob("*_pb2*.py*"))
        if files != committed:
            print(f"generated files differ: {files} are made, {committed} are committed; run: make protos")
            return 1
        stale = [str(file) for file in files if not filecmp.cmp(Path(scratch) / file, TARGET / file, shallow=False)]
    if stale:
        print(f"stale generated code: {', '.join(stale)}; run: make protos")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
