"""Agents' events: callbacks, history, announcements."""
