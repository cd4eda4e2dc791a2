"""Datasets that are brought, made or looked at by a command."""
