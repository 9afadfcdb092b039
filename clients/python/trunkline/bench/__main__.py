"""python -m trunkline.bench: the command `trunkline bench`."""

from __future__ import annotations

from trunkline.bench.cli import main

if __name__ == "__main__":
    main()
