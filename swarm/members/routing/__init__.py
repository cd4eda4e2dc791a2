"""Which member answers a prompt: prompts become features, a classifier picks, one member is asked."""
