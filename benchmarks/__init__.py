"""What things cost: each benchmark sets our way beside the plain one and beside what the hardware allows."""
