"""Which files the demo works on."""

from __future__ import annotations

from pathlib import Path

from trunkline.demo.sources import default_folder, find


def test_sources_are_found_and_the_rest_is_left_out(folder: Path) -> None:
    """Hidden, installed, binary and very large files are left out; the others come in order."""
    found = find(folder, 100)
    assert len(found.paths) == 48
    assert list(found.paths[:2]) == ["notes 0.md", "notes 1.md"]
    assert not any("left_out" in path or "picture" in path or "large" in path for path in found.paths)
    assert (found.beyond, found.skipped) == (0, 2)


def test_more_files_than_the_limit_are_counted_and_left_out(folder: Path) -> None:
    """The report can say how many."""
    found = find(folder, 10)
    assert (len(found.paths), found.beyond) == (10, 38)


def test_links_are_not_followed(folder: Path) -> None:
    """A link to a folder above would never end."""
    (folder / "up").symlink_to(folder)
    (folder / "again.sh").symlink_to(folder / "run.sh")
    assert len(find(folder, 100).paths) == 48


def test_without_a_folder_the_projects_own_sources_are_taken() -> None:
    """In a checkout, that is the checkout."""
    assert (default_folder() / "protos" / "trunkline" / "v1" / "bus.proto").is_file()
