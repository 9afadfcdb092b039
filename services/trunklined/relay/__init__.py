"""What keeps publishes until the bus has them: the sidecar's backlog, the outbox of state, and what hands them on."""
