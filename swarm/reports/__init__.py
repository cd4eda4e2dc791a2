"""Reports of a search: text, pictures, progress, trackers."""
