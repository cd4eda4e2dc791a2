"""The search: configuration, state, steps, fitness, and the run folder."""
