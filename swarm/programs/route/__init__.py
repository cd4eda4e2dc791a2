"""The steps of h-swarm route: rank, fit, eval, ask, replay."""
