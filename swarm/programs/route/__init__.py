"""The steps of scripts/route.py: rank, fit, eval, ask, replay."""
