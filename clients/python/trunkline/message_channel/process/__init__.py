"""The process mode: pipes between an owner and its agents."""
