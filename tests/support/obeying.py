"""An engine without weights that does what its prompts say: is killed, stops, runs out of memory, speaks."""

import logging
import os
import signal
import sys
import warnings
from pathlib import Path

from worlds import chaotic

from swarm.engines.scripted import ScriptedEngine
from swarm.errors import UserError
from swarm.workers.processes import Processes


def once(folder, what):
    """Whether this is the first time, in whichever process."""
    try:
        (Path(folder) / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class Obeying(ScriptedEngine):
    """Answers like `chaotic`, but does first what the last word of a prompt says; most of it only once."""

    def __init__(self, folder):
        super().__init__(self.answer)
        self.folder, self.halvings = folder, 0

    def facts(self):
        return {"engine": "obeying", "base": "none", "dtype": "float32", "device": "cpu"}

    def answer(self, request):
        word = request.prompt.split()[-1]
        act = ACTS.get(word)
        if word == "always" or ("poison" in request.prompt and (Path(self.folder) / "poison").exists()):
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "halve":
            self.halvings += 1
        if act and once(self.folder, word):
            act()
        return chaotic(request)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def stopped():
    os.kill(os.getpid(), signal.SIGSTOP)


def leave():
    print("something else\nthe device is gone", file=sys.stderr, flush=True)
    os._exit(3)


def full():
    raise MemoryError


def speak():
    print("to the terminal")
    os.system("echo from another program")
    logging.getLogger("swarm.some").info("an information")
    warnings.warn("a warning", stacklevel=1)


def wrong():
    raise ValueError("a fault of the program")


def cure():
    raise UserError("shorter prompts are wanted")


ACTS = {"killed": killed, "stopped": stopped, "leave": leave, "full": full, "speak": speak, "wrong": wrong,
        "cure": cure}  # fmt: skip


def refused():
    """In the place of an engine: what the user can mend."""
    raise UserError("the base is not there: bring it")


def hold(folder):
    """A program that starts two workers, tells their numbers, stops one of them, and waits."""
    from functools import partial

    import psutil

    from swarm.workers.worker_executor import WorkerExecutor

    executor = WorkerExecutor(Processes([partial(Obeying, folder)] * 2))
    workers = sorted(int(work.location.split()[-1]) for work in executor.work())
    os.kill(workers[0], signal.SIGSTOP)
    print(*workers, *(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    signal.pause()


if __name__ == "__main__":
    hold(sys.argv[1])
