"""The UNIX-socket mode: a server of newline-delimited JSON."""
