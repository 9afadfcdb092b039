"""The journal: what is stored, in commits that are shared by what arrives together, and how long it is kept."""
