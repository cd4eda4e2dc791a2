"""A database's file as a bad disk leaves it."""


def damage_the_head(path):
    path.write_bytes(b"not a database at all" * 50)


def damage_the_middle(path):
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * len(content[4096:])
    path.write_bytes(content)
