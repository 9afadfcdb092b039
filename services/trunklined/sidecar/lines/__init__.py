"""Agents that speak newline-delimited JSON."""
