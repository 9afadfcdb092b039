"""Commands that start and show the three programs."""
