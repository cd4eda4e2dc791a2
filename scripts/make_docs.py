"""Writes the pages of docs/ that are made from the settings: the option reference and the schema of settings files."""

from pathlib import Path

from swarm.programs.option_pages import pages

if __name__ == "__main__":
    for name, text in pages().items():
        path = Path(__file__).resolve().parent.parent / "docs" / name
        path.write_text(text, encoding="utf8")
        print(path)
