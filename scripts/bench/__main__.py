"""`python -m scripts.bench`: what `make bench` runs."""

from __future__ import annotations

from scripts.bench.cli import main

if __name__ == "__main__":
    main()
