"""Starts, watches and ends agents."""
