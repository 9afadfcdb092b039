"""Where a store keeps its records; one file per technology."""
