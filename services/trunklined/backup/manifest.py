"""The manifest: what a backup says of itself, in a file beside the copies."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from trunkline.errors import StorageError

NAME: Final = "manifest.json"
VERSION: Final = 1
"""Of the manifest's form, and of what lies beside it."""

Program = Literal["bus", "state", "sidecar"]
"""Whose store it is."""
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0)]


class Copied(Struct, frozen=True, forbid_unknown_fields=True):
    """A store's copy."""

    file: Annotated[str, Meta(pattern=r"^[^./\x00][^/\x00]*$")]
    """Its name, here and in the data directory."""
    program: Program
    schema_version: Count
    last_commit: Count
    """Of the journal and the backlog the number of the last commit, of the state store its revision."""
    bytes: Count
    sha256: Digest


class Contents(Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a backup."""

    product_version: str
    """Of the program that made it."""
    taken_at: str
    """The moment that the copies are of, in ISO 8601."""
    stores: Annotated[tuple[Copied, ...], Meta(min_length=1)]


class _Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    manifest_version: int
    contents: Contents
    sha256: Digest
    """Of the contents, in the form that they are written anew in."""


class _Versioned(Struct):
    manifest_version: int


def write(directory: Path, contents: Contents) -> None:
    """Writes the manifest, for its owner alone."""
    manifest = _Manifest(VERSION, contents, _digest_of(contents))
    path = directory / NAME
    path.touch(0o600, exist_ok=False)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read(directory: Path) -> Contents:
    """Reads the manifest of a backup.

    Raises:
        StorageError: there is none, it is damaged, or of a newer program.
    """
    path = directory / NAME
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(
            f"{directory} is no backup, or one that was not finished: there is no {NAME} in it",
            details={"path": str(directory)},
        ) from None
    try:
        version = msgspec.json.decode(text, type=_Versioned).manifest_version
        if version > VERSION:
            raise StorageError(
                f"{path}: manifest_version is {version}, this program knows {VERSION}: use a newer program",
                details={"path": str(path), "found": version, "supported": VERSION},
            )
        manifest = msgspec.json.decode(text, type=_Manifest)
    except msgspec.DecodeError as error:
        raise StorageError(f"{path} is damaged: {error}", details={"path": str(path)}) from error
    if (found := _digest_of(manifest.contents)) != manifest.sha256:
        raise StorageError(
            f"{path} is damaged: sha256 of its contents is {found}, and it says {manifest.sha256}",
            details={"path": str(path)},
        )
    return manifest.contents


def _digest_of(contents: Contents) -> str:
    return sha256(msgspec.json.encode(contents)).hexdigest()
