"""Forwards a channel's messages to a bus, and back."""
