"""What an orchestrator knows of its agents: entries, lives, dependencies, restarts."""
