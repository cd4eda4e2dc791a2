"""The twelve datasets of the published program, which h-swarm data get brings."""

COMMIT = "eb81202157d1c6c2926cf54f5c0ee0437abbe2d6"
"""The commit of BunsenFeng/heterogeneous_swarm whose files are meant."""

SHA256 = {
    "gaia": "67c62867bbde7807ff0b1693c7f3e90504312543d97139efe7e4f253f67c313b",
    "gsm8k": "2c9543382d0580e7c1f205b240c6b750d0709f641e6821f6175e3ab8e83a8a2a",
    "knowledge_crosswords": "90e6444cc1f30f73805f4207d4088c35dfb86f71681be216c42868575560184e",
    "mmlu": "e1606a8d49657472cd1530b31a7c169155cdbee4040e5a0ca5b332aabce32974",
    "nlgraph": "9622d463616b9ac654eba21f7d6e10ead3c13f6054cde1de8b6b67387fae1afe",
    "qasper": "7a7bda92c80a3b1fb8796690fd80242e1d50f7117baa29ed35032b311e262874",
}
"""Name -> SHA-256 of its file at that commit, for the files that were at hand."""

PUBLISHED = (
    "mmlu_pro", "knowledge_crosswords", "com2", "gsm8k", "nlgraph", "normad", "gaia", "abkg", "ltp", "qasper", "mmlu",
    "wow",
)  # fmt: skip
"""The names, in the paper's order of tasks."""
