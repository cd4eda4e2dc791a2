"""A package as somebody else would ship it: a plugin of every group, and one that is broken."""
