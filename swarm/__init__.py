"""Heterogeneous Swarms: joint search over a graph of model roles and the weights of the models in it."""

__version__ = "0.1.0"

from swarm import moved

moved.install()
