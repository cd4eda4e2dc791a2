"""The process in which mathematical expressions are compared: it can be killed where one takes too long.

Writes a line when it is ready; then reads lines of JSON, [right answer, reply], and writes true or false for each.
"""

import json
import logging
import resource
import sys

_BYTES = 4 << 30  # of address space: an expression must not take the machine's memory


def main() -> None:
    """Answers until there is no more input."""
    import math_verify  # type: ignore[import-not-found]

    logging.disable(logging.WARNING)  # it warns of having no time limit of its own; whoever asks has one
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, most))
    print("true", flush=True)  # it is ready
    for line in sys.stdin:
        gold, reply = json.loads(line)
        try:
            right = math_verify.parse(gold if "$" in gold or "\\boxed" in gold else f"${gold}$", parsing_timeout=None)
            said = math_verify.parse(reply, parsing_timeout=None)
            equal = bool(math_verify.verify(right, said, timeout_seconds=None))
        except Exception:  # of a library that parses whatever a model writes: what it cannot compare is not equal
            equal = False
        print(json.dumps(equal), flush=True)


if __name__ == "__main__":
    main()
