"""What was answered before, by content: in memory and on disk."""
