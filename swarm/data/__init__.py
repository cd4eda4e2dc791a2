"""Where questions come from: files, folders and sets of the hub become checked datasets."""
