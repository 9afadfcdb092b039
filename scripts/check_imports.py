"""Holds who may import whom: every rule stands in RULES, and `make check` runs this.

A rule allows or forbids by the names that a module imports, wherever in it the import stands. Allowed packages are
under rules of their own, so that what holds for direct imports holds for indirect ones. `from a import b` counts as
`a.b`: taking a client's name from the package `trunkline` is seen. `os.environ` and its like count as imports.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("clients/python", "services")
OURS = ("trunkline", "trunklined")

WORDS = (
    *("trunkline.errors", "trunkline.channels", "trunkline.limits", "trunkline.text", "trunkline.addresses"),
    *("trunkline.delivery", "trunkline.records", "trunkline.private_file", "trunkline.lazy_names", "trunkline.ids"),
)
SHARED = ("trunkline.priority", "trunkline.wire.writer")
"""What both ends of a stream are made of, beside the words."""
SPOKEN = (*WORDS, *SHARED, "trunkline.__version__")
PUBLIC = ("trunkline.[A-Z]*", "trunkline.message_channel", "trunkline.sync")
"""What users of the client import: its names, MessageChannel's, and the synchronous face."""
INSIDES = ("trunkline.message_channel.*.*", "trunkline.sync.*.*")
WIRE = ("trunkline.v1", "trunkline.wire")
TECHNOLOGIES = tuple(f"trunkline.*.{name}{below}" for name in ("grpc", "redis") for below in ("", ".*"))
"""What a bus or a store of the client is made with, by name, below what all of them promise."""
GRPC = ("grpc", "grpc_health", "grpc_reflection", "grpc_status", "google")
WIRE_PARTS = ("trunklined.*.wire", "trunklined.*.wire.*")
"""The modules of a service that know the wire; the others are its domain."""
WIRE_SIDE = (*WIRE_PARTS, "trunklined.*.app")
FORWARDING = (
    "trunklined.sidecar.servicer",
    "trunklined.sidecar.offline.*",
)
"""Of the sidecar, what speaks to the services and for them."""
EXCHANGE = "trunklined.bus.replicas.redis"
"""What replicas of the bus speak through, by its technology: it is to them what an engine is to a service."""
ENVIRONMENT = (
    "os.environ",
    "os.environb",
    "os.getenv",
    "os.getenvb",
    "pydantic_settings.BaseSettings",
    "pydantic_settings.*Source",
)
READERS = ("os", "pydantic_settings")
"""Modules whose attributes count as imports: the environment is read by them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What some modules may import.

    Args:
        title: the rule in words, for the report.
        of: patterns of the modules that it holds for; `*` also spans dots.
        but: patterns of modules that it does not hold for.
        ours: the project's packages that may be imported. None: any.
        outside: the third-party packages that may be imported beside the standard library. None: any.
        never: what may not be imported at all; patterns.
        though: what may be, though it lies in a `never`.
    """

    title: str
    of: tuple[str, ...]
    but: tuple[str, ...] = ()
    ours: tuple[str, ...] | None = None
    outside: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()
    though: tuple[str, ...] = ()


RULES = (
    Rule("the words import the standard library only", WORDS, ours=SPOKEN, outside=()),
    Rule("what both ends of a stream share imports the words only", SHARED, ours=SPOKEN, outside=()),
    Rule(
        "the package hands its names out lazily: it loads nothing itself",
        ("trunkline",),
        ours=("trunkline.lazy_names",),
        outside=(),
    ),
    Rule(
        "what both ends know of TLS imports the words, and libraries for certificates",
        ("trunkline.tls", "trunkline.tls.*"),
        ours=(*SPOKEN, "trunkline.tls"),
        outside=("cryptography", "trustme"),
    ),
    Rule(
        "the wire imports protobuf and grpc",
        ("trunkline.v1", "trunkline.v1.*", "trunkline.wire", "trunkline.wire.*"),
        ours=(*SPOKEN, *WIRE, "trunkline.tls"),
        outside=GRPC,
    ),
    Rule("the client never imports the programs", ("trunkline.*",), ours=("trunkline",)),
    Rule("what starts the programs imports the words only", ("trunkline.programs",), ours=SPOKEN, outside=()),
    Rule("the bus of the client knows no state", ("trunkline.bus", "trunkline.bus.*"), never=("trunkline.state",)),
    Rule("the state of the client knows no bus", ("trunkline.state", "trunkline.state.*"), never=("trunkline.bus",)),
    Rule(
        "what every bus and every store promises names no technology",
        ("trunkline.bus", "trunkline.bus.*", "trunkline.state", "trunkline.state.*"),
        but=TECHNOLOGIES,
        never=TECHNOLOGIES,
    ),
    Rule(
        "models know no wire, and of what a bus or a store promises the codecs alone do",
        ("trunkline.models", "trunkline.models.*", "trunkline.bus.*", "trunkline.state.*"),
        but=(
            *TECHNOLOGIES,
            "trunkline.*.codec",
            "trunkline.*.durable_codec",
            "trunkline.*.life_codec",
            "trunkline.*.task_codec",
        ),
        never=(*WIRE, *GRPC),
    ),
    Rule(
        "agents are built on the client's public names",
        ("trunkline.agents", "trunkline.agents.*"),
        ours=(*SPOKEN, *PUBLIC, "trunkline.models.json", "trunkline.agents"),
        outside=(),
        never=INSIDES,
    ),
    Rule(
        "the orchestrator is built on the client's public names",
        ("trunkline.orchestrator", "trunkline.orchestrator.*"),
        ours=(*SPOKEN, *PUBLIC, "trunkline.agents", "trunkline.orchestrator"),
        outside=("psutil",),
        never=INSIDES,
    ),
    Rule(
        "the command line is built on public names",
        ("trunkline.cli", "trunkline.cli.*"),
        ours=(
            *(*WORDS, *PUBLIC, "trunkline.__version__"),
            *("trunkline.orchestrator", "trunkline.programs", "trunkline.tls", "trunkline.cli"),
        ),
        never=(*INSIDES, *GRPC),
        though=("trunkline.message_channel.peer",),
    ),
    Rule(
        "what every server needs imports the words",
        ("trunklined.rpc", "trunklined.rpc.*"),
        ours=(
            *(*SPOKEN, "trunkline.v1.error_pb2", "trunkline.v1.move_pb2", "trunkline.tls"),
            *("trunkline.wire.channel", "trunkline.wire.token"),
            *("trunklined.access", "trunklined.rpc", "trunklined.__version__"),
        ),
    ),
    Rule(
        "who may do what knows no wire and no service",
        ("trunklined.access", "trunklined.access.*"),
        ours=(*SPOKEN, "trunkline.tls", "trunklined.access"),
        outside=("click", "cryptography", "jwt", "structlog"),
    ),
    Rule(
        "the histogram, which domains use, imports the standard library only",
        ("trunklined.rpc.histogram",),
        ours=(),
        outside=(),
    ),
    Rule(
        "what every SQLite file needs imports the words only",
        ("trunklined.sqlite", "trunklined.sqlite.*"),
        ours=(*SPOKEN, "trunklined.sqlite"),
        outside=(),
    ),
    Rule(
        "what every engine over Redis needs imports the words and TLS only",
        ("trunklined.redis", "trunklined.redis.*"),
        ours=(*SPOKEN, "trunkline.tls", "trunklined.redis"),
        outside=("redis", "tenacity", "structlog", "pydantic"),
    ),
    Rule(
        "Redis is an engine's affair: the settings alone name it elsewhere",
        ("trunklined", "trunklined.*"),
        but=(
            *("trunklined.redis", "trunklined.redis.*", "trunklined.*.engines.*", EXCHANGE, "trunklined.*.app"),
            "trunklined.migration.*",
        ),
        never=("redis", "trunklined.redis"),
        though=("trunklined.redis.settings",),
    ),
    Rule(
        "what whoever takes messages checks of them imports words, wire, times and the bounds of long work",
        ("trunklined.admission",),
        ours=(*SPOKEN, *WIRE, "trunklined.rpc.times", "trunklined.rpc.long_work"),
    ),
    Rule(
        "what keeps publishes until the bus has them imports words, wire, admission and rpc; no service and no client",
        ("trunklined.relay", "trunklined.relay.*"),
        ours=(*SPOKEN, *WIRE, "trunklined.admission", "trunklined.rpc", "trunklined.relay"),
    ),
    Rule(
        "of what keeps publishes, the way to the bus alone knows grpc",
        ("trunklined.relay.*",),
        but=("trunklined.relay.link", "trunklined.relay.publishing", "trunklined.relay.arrival"),
        never=(*GRPC, "trunklined.rpc.server", "trunkline.v1.*_grpc"),
    ),
    Rule(
        "what hands calls on to another service imports words, wire and rpc; no service and no client",
        ("trunklined.forwarding", "trunklined.forwarding.*"),
        ours=(*SPOKEN, *WIRE, "trunklined.rpc", "trunklined.forwarding"),
    ),
    Rule(
        "the bus imports words, wire and rpc; neither another service nor the client",
        ("trunklined.bus", "trunklined.bus.*"),
        ours=(
            *(*SPOKEN, *WIRE, "trunklined.admission", "trunklined.rpc", "trunklined.sqlite", "trunklined.redis"),
            *("trunklined.access", "trunklined.forwarding", "trunklined.bus"),
        ),
    ),
    Rule(
        "the state imports words, wire and rpc; neither another service nor the client",
        ("trunklined.state", "trunklined.state.*"),
        ours=(
            *(*SPOKEN, *WIRE, "trunklined.relay", "trunklined.rpc", "trunklined.sqlite", "trunklined.redis"),
            *("trunklined.access", "trunklined.state"),
        ),
    ),
    Rule(
        "the sidecar imports words, wire, rpc and the client; no other service",
        ("trunklined.sidecar", "trunklined.sidecar.*"),
        ours=(
            *("trunkline", "trunklined.admission", "trunklined.relay", "trunklined.rpc", "trunklined.sqlite"),
            *("trunklined.forwarding", "trunklined.sidecar"),
        ),
    ),
    Rule(
        "the bus and the store of one process are the client and both domains; nobody imports them",
        ("trunkline", "trunkline.*", "trunklined", "trunklined.*"),
        but=("trunklined.local", "trunklined.local.*"),
        never=("trunklined.local",),
    ),
    Rule(
        "the bus and the store of one process import the client, both domains and what serves; they name no engine",
        ("trunklined.local", "trunklined.local.*"),
        ours=(
            *("trunkline", "trunklined.bus", "trunklined.state", "trunklined.relay", "trunklined.local"),
            *("trunklined.rpc.logging", "trunklined.rpc.server"),
        ),
        never=("trunklined.bus.engines", "trunklined.state.engines"),
    ),
    Rule(
        "what copies the data of services imports their engines, and how the command line writes tables",
        ("trunklined.migration", "trunklined.migration.*"),
        ours=(
            *(*SPOKEN, "trunkline.cli.output", "trunklined.sqlite", "trunklined.redis", "trunklined.migration"),
            *("trunklined.bus.engines", "trunklined.state.engines", "trunklined.state.records"),
            "trunklined.relay.journal",
        ),
        outside=("click", "pydantic", "msgspec"),
    ),
    Rule(
        "what backs the data of services up imports what their files are, and how the command line writes tables",
        ("trunklined.backup", "trunklined.backup.*"),
        ours=(
            *(*SPOKEN, "trunkline.cli.output", "trunklined.sqlite", "trunklined.backup"),
            *("trunklined.bus.engines.sqlite_schema", "trunklined.state.engines.sqlite_schema"),
            "trunklined.sidecar.offline.backlog_file",
        ),
        outside=("click", "msgspec"),
    ),
    Rule(
        "the domain of a service imports no grpc",
        ("trunklined.bus.*", "trunklined.state.*", "trunklined.sidecar.*"),
        but=(*WIRE_SIDE, *FORWARDING),
        never=(*GRPC, "trunklined.rpc.server", "trunkline.v1.*_grpc"),
    ),
    Rule(
        "the wire side of a service (servicer and its parts) alone knows the wire",
        ("trunklined.bus.*", "trunklined.state.*"),
        but=WIRE_SIDE,
        never=("trunkline.v1", *WIRE_PARTS),
    ),
    Rule(
        "app alone names engines",
        ("trunklined.bus.*", "trunklined.state.*"),
        but=("trunklined.*.app", "trunklined.*.engines", "trunklined.*.engines.*"),
        never=("trunklined.bus.engines.*", "trunklined.state.engines.*", EXCHANGE),
        though=("trunklined.*.engines.engine",),
    ),
    Rule(
        "config alone reads the environment",
        ("trunklined", "trunklined.*"),
        but=("trunklined.*.config",),
        never=ENVIRONMENT,
    ),
)


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module imports, with where it says so."""

    name: str
    path: Path
    line: int


def module_name(path: Path, root: Path) -> str:
    """`trunkline.cli.main` of clients/python/trunkline/cli/main.py; a package's is its own."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, module: str) -> Iterator[Import]:
    """Everything that a file imports, but what only type checkers see in the package's own list of names."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _walk(ast.parse(path.read_text(), str(path)), skip_typing=module == "trunkline"):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [f"{node.value.id}.{node.attr}"] if node.value.id in READERS else []
        else:
            continue
        for name in names:
            yield Import(name, path, getattr(node, "lineno", 0))


def _walk(node: ast.AST, *, skip_typing: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if skip_typing and isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _walk(child, skip_typing=skip_typing)


def _among(name: str, packages: Sequence[str]) -> bool:
    """Whether a name is one of these packages or lies in one."""
    parts = name.split(".")
    heads = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(fnmatchcase(head, package) for head in heads for package in packages)


def breaks(rule: Rule, name: str) -> bool:
    """Whether a module under this rule may not import this name."""
    if _among(name, rule.never) and not _among(name, rule.though):
        return True
    if _among(name, OURS):
        return rule.ours is not None and not _among(name, rule.ours)
    top = name.partition(".")[0]
    return rule.outside is not None and top not in sys.stdlib_module_names and not _among(name, rule.outside)


def check(root: Path) -> list[str]:
    """What is broken in the tree at `root`: one line each."""
    found = []
    for source in (root / part for part in SOURCES):
        for path in sorted(source.rglob("*.py")):
            module = module_name(path, source)
            rules = [rule for rule in RULES if _holds(rule, module)]
            for item in imports_of(path, module):
                found += [
                    f"{path.relative_to(root)}:{item.line}: {module} imports {item.name}: {rule.title}"
                    for rule in rules
                    if breaks(rule, item.name)
                ]
    return found


def circles(root: Path) -> list[list[str]]:
    """The groups of modules that import each other in a circle, `TYPE_CHECKING` counted in; each sorted.

    An import of a name from a package is an arrow to the module that the name is, else to the package itself; a
    package is no arrow to what lies in it.
    """
    files = {
        module_name(path, source): path
        for source in (root / part for part in SOURCES)
        for path in sorted(source.rglob("*.py"))
    }
    graph: dict[str, set[str]] = {module: set() for module in files}
    for module, path in files.items():
        for item in imports_of(path, module):
            target = item.name if item.name in files else item.name.rpartition(".")[0]
            if target in files and target != module:
                graph[module].add(target)
    return _components(graph)


def _components(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            cut = stack.index(node)
            component, stack[cut:] = stack[cut:], []
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def _holds(rule: Rule, module: str) -> bool:
    matched = any(fnmatchcase(module, pattern) for pattern in rule.of)
    return matched and not any(fnmatchcase(module, pattern) for pattern in rule.but)


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks who imports whom; exit 1 where a rule is broken.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to check (default: this one)")
    parser.add_argument("--circles", action="store_true", help="only print the circles of modules, a line each")
    arguments = parser.parse_args()
    found = [" <-> ".join(circle) + ": no circle of modules" for circle in circles(arguments.root)]
    if not arguments.circles:
        found += check(arguments.root)
    print(
        "\n".join(found)
        if found
        else "circles: none"
        if arguments.circles
        else f"import rules: {len(RULES)} hold, and no circle"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
