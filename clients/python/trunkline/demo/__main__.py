"""`python -m trunkline.demo`: the demo where the command is not on the PATH."""

from trunkline.demo.cli import main

if __name__ == "__main__":
    main()
