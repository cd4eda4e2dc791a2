"""How good every member's answer to every prompt is: metrics, the matrix of their scores, and what a router can win."""
