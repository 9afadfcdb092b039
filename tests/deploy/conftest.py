"""Programs as an engine of containers runs them, and manifests as an operator renders them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from scripts.tools import ensure
from tests.deploy.manifests import KUBERNETES, Object, render
from tests.programs import RunningProgram

Start = Callable[..., RunningProgram]
RenderWith = Callable[..., list[Object]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs, and ends them."""
    started: list[RunningProgram] = []

    def start(name: str, *options: str, **words: object) -> RunningProgram:
        program = RunningProgram(name, *options, **words)  # type: ignore[arg-type]
        started.append(program)
        return program.start()

    yield start
    for program in started:
        program.end()


@pytest.fixture(scope="session")
def kustomize() -> str:
    return ensure("kustomize")


@pytest.fixture(scope="session")
def helm() -> str:
    return ensure("helm")


@pytest.fixture
def render_with(kustomize: str, tmp_path: Path) -> RenderWith:
    """Renders an overlay with components, as an operator's own kustomization names them."""

    def render_with(overlay: str, *used: str) -> list[Object]:
        where = os.path.relpath(KUBERNETES, tmp_path)
        own = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "trunkline-development" if overlay == "development" else "trunkline",
            "resources": [f"{where}/overlays/{overlay}"],
            "components": [f"{where}/components/{name}" for name in used],
        }
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
        return render(kustomize, tmp_path)

    return render_with
