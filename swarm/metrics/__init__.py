"""Metrics of an answer against its reference: score matrices, rankings, audits."""
