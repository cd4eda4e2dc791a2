"""A tracker as somebody else would ship it: a file of lines."""

import json


class Lines:
    def __init__(self, run):
        self.path = run.folder / "tracked.jsonl"

    def log(self, record, step):
        with open(self.path, "a") as file:
            print(json.dumps({"step": step, **record}), file=file)

    def finish(self):
        pass
