"""A search on many workers in simulated time: real steps, scheduler, queue and executor; no engines."""
