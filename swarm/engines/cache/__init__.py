"""The cache of completions by content, in memory and on disk."""
