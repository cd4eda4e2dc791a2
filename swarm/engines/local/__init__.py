"""transformers in this process: models loaded once, prompts read and answered in batches."""
