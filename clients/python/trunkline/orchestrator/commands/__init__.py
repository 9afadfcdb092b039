"""Commands of people and programs: grammar, audit log, answers."""
