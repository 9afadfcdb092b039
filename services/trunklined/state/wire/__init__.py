"""The wire side of the store: checks, calls the domain, translates, answers."""
