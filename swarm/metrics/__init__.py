"""How good an answer is beside its reference: metrics, score matrices, rankings, audits."""
