"""Routers: features of a prompt, and a classifier that picks the member to ask."""
