"""What the bus keeps stored messages in: one file for each technology."""
