"""Members, which are assigned to a graph's nodes: composites, which answer with the help of other members."""
