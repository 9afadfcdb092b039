"""What every SQLite file of ours needs: it is made whole or not at all, held by one program, checked, and brought up
from an older version."""
