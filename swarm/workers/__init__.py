"""Several engines at once, each in a worker of its own: here, on several devices, or on a cluster."""
