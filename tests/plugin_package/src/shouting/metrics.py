"""A metric as somebody else would ship it."""


def capitals(answer, reference, least=0.0):
    """The share of capital letters, whatever the reference is."""
    return max(least, sum(letter.isupper() for letter in answer) / max(len(answer), 1))
