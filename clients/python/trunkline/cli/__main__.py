"""`python -m trunkline.cli`: the command `trunkline` where it is not on the PATH."""

from trunkline.cli import main

if __name__ == "__main__":
    main()
