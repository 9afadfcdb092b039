"""What every store promises, whatever keeps its records."""
