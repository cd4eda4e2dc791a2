"""A search on many workers in simulated time: real steps, scheduler, queue and crew; only the engines are not there."""
