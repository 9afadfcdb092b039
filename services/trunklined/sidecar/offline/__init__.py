"""Takes messages while the bus is away, and hands them on when it is back."""
