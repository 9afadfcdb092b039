"""The wire side of the bus: checks, calls the domain, translates, answers."""
