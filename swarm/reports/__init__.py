"""What a person sees of a search: text, pictures, progress, trackers."""
