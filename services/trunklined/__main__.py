"""`python -m trunklined bus|state|sidecar`: runs one program."""

from trunklined.command import main

if __name__ == "__main__":
    main()
