"""What every bus promises, whatever carries its messages."""
