"""Processes that start in no time: one process imports everything once and forks for every command.

What a fork runs is what `python` would run, from the script to the exit code; it can be killed like any process. Only
what an interpreter does by itself, such as reading PYTHONPATH, needs a real start. `python preloaded.py` is the forking
side, `Preloaded` the one that tests hold.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

from forked_starts import run_words, start_by_forks

# what programs import once they know that they need it
IMPORTED_LATER = (
    "matplotlib.figure",
    "peft",
    "sklearn.feature_extraction.text",
    "swarm.members.fusion.fusion_engine",
    "swarm.members.routing.routing_engine",
    "transformers.models.gemma.modeling_gemma",
)


class Running:
    """A command that has been started."""

    def __init__(self, server, pid, out, err):
        self._server, self.pid, self._out, self._err = server, pid, out, err

    def kill(self, number):
        """Sends a signal, if the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self):
        """(exit code or minus the signal, stdout, stderr)."""
        code = self._server.ask({"wait": self.pid})
        return code, *(path.read_text() if path.is_file() else "" for path in (self._out, self._err))

    def done(self):
        """Whether it has ended."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "Z"


class Preloaded:
    """Starts commands, as many side by side as are wanted."""

    def __init__(self, folder):
        self.folder = folder
        self._started = 0
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, command):
        """The forking process's answer."""
        self._server.stdin.write(json.dumps(command) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(self, program, *arguments, cwd, **options):
        """Starts `search` or `evaluate` with these arguments.

        Options: `file_limit`, the largest file that it may write; `by_forks`, for `start_by_forks` in it.
        """
        environment = dict(os.environ) | {"XDG_CACHE_HOME": f"{cwd}/.cache"}
        return self._start([program, *arguments], cwd, environment, **options)

    def run(self, program, *arguments, cwd, **options):
        """The same, to its end."""
        return self.start(program, *arguments, cwd=cwd, **options).wait()

    def start_python(self, *words, cwd, env=None, **options):
        """Starts what `python` would with these words: a script, -c or -m, and its arguments.

        `env` is the whole environment. Options as in `start`, and `out` and `err`: files, pipes or terminals.
        """
        return self._start(words, cwd, dict(os.environ if env is None else env), **options)

    def python(self, *words, cwd, env=None, **options):
        """The same, to its end, as `subprocess.run` tells it."""
        return subprocess.CompletedProcess(words, *self.start_python(*words, cwd=cwd, env=env, **options).wait())

    def _start(self, words, cwd, environment, out=None, err=None, file_limit=None, by_forks=False):
        self._started += 1
        out = Path(out or self.folder / f"out_{self._started}")
        err = Path(err or self.folder / f"err_{self._started}")
        command = {
            "words": [str(word) for word in words],
            "cwd": str(cwd),
            "environment": environment,
            "out": str(out),
            "err": str(err),
            "file_limit": file_limit,
            "by_forks": by_forks,
        }
        return Running(self, self.ask(command), out, err)

    def close(self):
        """Ends the forking process."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _child(command):
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["environment"])
    for number, path in ((0, os.devnull), (1, command["out"]), (2, command["err"])):
        opened = os.open(path, (os.O_WRONLY if number else os.O_RDONLY) | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    if command["file_limit"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["file_limit"],) * 2)
    if command["by_forks"]:
        start_by_forks()
    os._exit(_code_of(command["words"]))


def _code_of(words):
    """Exit code of what runs here, with all that it has said written out."""
    try:
        code = _run(*words)
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    threading._shutdown()  # as multiprocessing ends the processes that it has forked
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError as error:  # whoever reads it has gone, and the program did not see to that
        print(f"{error!r} ignored", file=sys.stderr)
        code = 120
    sys.stderr.flush()
    return code or 0


def _run(first, *arguments):
    from swarm.programs import front_doors

    if first in PROGRAMS:
        return front_doors.guarded(lambda: PROGRAMS[first](list(arguments)))
    return run_words(first, *arguments)


def _serve():
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            answer = os.waitstatus_to_exitcode(os.waitpid(command["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _child(command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    import torch

    from swarm.programs.evaluate import evaluate_program
    from swarm.programs.search import search_program

    for name in IMPORTED_LATER:
        importlib.import_module(name)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # no fork has to look through all these modules
    PROGRAMS = {"search": search_program, "evaluate": evaluate_program}
    _serve()
