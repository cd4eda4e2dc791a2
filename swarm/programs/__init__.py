"""The programs that a user starts, one module or folder per command."""
