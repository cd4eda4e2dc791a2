"""What a graph can place: experts, and composites that answer with the help of other members."""
