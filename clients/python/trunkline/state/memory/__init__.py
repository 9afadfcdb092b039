"""The store in one process."""
