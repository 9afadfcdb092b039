"""Finds what a guide calls by name: names of `trunkline` with their arguments, and commands with their options."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from typing import Any

import click

import trunkline
from trunkline.cli import root

_NAME = re.compile(r"(?P<path>[A-Za-z_]\w*(?:\.\w+)*)(?:\((?P<arguments>.*)\))?")


def check_name(code: str) -> None:
    """Raises AssertionError, with what is missing, unless there is such a name with such arguments, or such a
    command."""
    if code.startswith("trunkline "):
        _check_command(code)
        return
    found = _NAME.fullmatch(code)
    assert found is not None, f"{code!r} is no name"
    first, *rest = found["path"].split(".")
    if first == "trunkline":
        first, *rest = rest
    thing: Any = getattr(trunkline, first, None) or importlib.import_module(f"trunkline.{first}")
    for name in rest:
        assert name in _parts(thing), f"{code!r}: {thing!r} has no {name}"
        thing = getattr(thing, name, None)
    for argument in filter(None, re.split(r",\s*", found["arguments"] or "")):
        parameters = inspect.signature(thing).parameters
        assert argument.partition("=")[0].strip("*") in parameters, f"{code!r}: no argument {argument}"


def _parts(thing: Any) -> set[str]:
    """What can stand behind a dot: attributes, fields, and what a constructor gives an instance."""
    parts = set(dir(thing)) | set(getattr(thing, "model_fields", ()))
    if dataclasses.is_dataclass(thing):
        parts |= {field.name for field in dataclasses.fields(thing)}
    if inspect.isclass(thing):
        parts |= {name for base in thing.__mro__ for name in inspect.get_annotations(base)}
    if inspect.isclass(thing) and inspect.isfunction(thing.__init__):
        parts |= set(thing.__init__.__code__.co_names)
    return parts


def _check_command(line: str) -> None:
    command: click.Command = root.trunkline
    context = click.Context(command)
    for word in line.split()[1:]:
        if word.startswith("-"):
            options = {option for each in command.params for option in each.opts}
            assert word.partition("=")[0] in options, f"{line!r}: {command.name} has no option {word}"
        elif isinstance(command, click.Group):
            below = command.get_command(context, word)
            assert below is not None, f"{line!r}: there is no command {word}"
            command, context = below, click.Context(below, parent=context)
