"""Generates from protos/ the code of each language: clients/python/trunkline/v1, clients/go/v1,
clients/typescript/src/gen and clients/rust/src/gen; with --check, only says whether it is fresh."""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import google.rpc as google_rpc

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this is run as a file

from scripts.tools import NODE_PACKAGES, find, rust_environment  # noqa: E402

SOURCES = sorted((ROOT / "protos").glob("trunkline/v1/*.proto"))
WITH_SERVICES = [source for source in SOURCES if "\nservice " in source.read_text()]


@dataclass(frozen=True, slots=True)
class Language:
    """Where the generated code of one language lies, and what makes it.

    Args:
        home: of the client, below clients/.
        pattern: the generated files, below the home.
        generate: makes them below another home.
    """

    home: str
    pattern: str
    generate: Callable[[Path], None]

    def files(self, home: Path) -> list[Path]:
        """The generated files that lie below a home, relative to it."""
        return sorted(path.relative_to(home) for path in home.glob(self.pattern))


def protoc(sources: list[Path], *options: str, **environment: str) -> None:
    """Runs protoc."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'protos'}", *options]
    subprocess.run([*command, *map(str, sources)], check=True, env={**os.environ, **environment})


def generate_python(home: Path) -> None:
    """Messages, their types, stubs where there are services, and the protos with their comments, for reflection."""
    protoc(SOURCES, f"--python_out={home}", f"--pyi_out={home}")
    protoc(WITH_SERVICES, f"--grpc_python_out={home}")
    protoc(SOURCES, "--include_source_info", f"--descriptor_set_out={home / 'trunkline' / 'v1' / 'descriptors.binpb'}")


def generate_go(home: Path) -> None:
    """The same for Go, by two plugins that scripts/tools.py installs."""
    plugins = []
    for name in ("protoc-gen-go", "protoc-gen-go-grpc"):
        found = find(name)
        if found is None:
            sys.exit(f"{name} is missing; run: python scripts/tools.py {name}")
        plugins.append(f"--plugin={name}={found}")
    module = "module=trunkline"  # as clients/go/go.mod calls it
    protoc(SOURCES, *plugins, f"--go_out={home}", f"--go_opt={module}")
    protoc(WITH_SERVICES, *plugins, f"--go-grpc_out={home}", f"--go-grpc_opt={module}")


def generate_typescript(home: Path) -> None:
    """The same for TypeScript, with what gRPC says of errors, by a plugin of its packages."""
    if find("typescript") is None:
        sys.exit("TypeScript is missing; run: python scripts/tools.py typescript")
    plugin = f"--plugin=protoc-gen-es={NODE_PACKAGES / '.bin' / 'protoc-gen-es'}"
    google = Path(next(iter(google_rpc.__path__)))
    options = ("--es_opt=target=ts,import_extension=js", f"--proto_path={google.parents[1]}")
    made = home / "src" / "gen"
    made.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join((str(Path(str(find("node"))).parent), os.environ.get("PATH", os.defpath)))
    errors = [google / f"{name}.proto" for name in ("status", "error_details")]
    protoc([*SOURCES, *errors], plugin, *options, f"--es_out={made}", PATH=path)


def generate_rust(home: Path) -> None:
    """The same for Rust, by a program beside the client."""
    cargo = find("cargo")
    if cargo is None:
        sys.exit("cargo is missing; run: python scripts/tools.py cargo")
    made = home / "src" / "gen"
    made.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        descriptors = f"{scratch}/protos.binpb"
        protoc(SOURCES, "--include_imports", "--include_source_info", f"--descriptor_set_out={descriptors}")
        command = [cargo, "run", "--quiet", "--package=generate", "--", descriptors, str(made)]
        subprocess.run(
            command, check=True, cwd=ROOT / "clients" / "rust", env={**os.environ, **rust_environment(cargo)}
        )


LANGUAGES: Mapping[str, Language] = {
    "python": Language("python", "trunkline/v1/*pb*", generate_python),
    "go": Language("go", "v1/*.pb.go", generate_go),
    "typescript": Language("typescript", "src/gen/**/*_pb.ts", generate_typescript),
    "rust": Language("rust", "src/gen/*.rs", generate_rust),
}


def complaint(language: Language) -> str | None:
    """Says what is stale of the committed code of a language; None: it is fresh."""
    committed_home = ROOT / "clients" / language.home
    with tempfile.TemporaryDirectory() as scratch:
        made_home = Path(scratch)
        language.generate(made_home)
        made, committed = language.files(made_home), language.files(committed_home)
        if made != committed:
            return f"generated files differ: {made} are made, {committed} are committed"
        stale = [str(each) for each in made if not filecmp.cmp(made_home / each, committed_home / each, shallow=False)]
    return f"stale generated code: {', '.join(stale)}" if stale else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the committed code is stale")
    if not parser.parse_args().check:
        for language in LANGUAGES.values():
            language.generate(ROOT / "clients" / language.home)
        return 0
    complaints = [each for language in LANGUAGES.values() if (each := complaint(language))]
    for each in complaints:
        print(f"{each}; run: make protos")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
