"""Replies read as text: numbers, words and lettered choices; strings compared."""
