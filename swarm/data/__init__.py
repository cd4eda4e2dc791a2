"""Datasets: files, folders and sets of the Hugging Face hub become checked examples."""
