"""Python processes that a program starts are forks of it as it was before it began, not new interpreters.

For tests of what such processes do; how they are started is tested where they are really started.
"""

import contextlib
import multiprocessing.context
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from multiprocessing import forkserver, get_context, util
from pathlib import Path

RUN = subprocess.run


def start_by_forks():
    """From now on: multiprocessing's method `spawn`, and `subprocess.run([sys.executable, ...])`.

    To be called while this process has no threads and has imported all that they need.
    """
    contexts = multiprocessing.context._concrete_contexts
    contexts["spawn"] = contexts["forkserver"]
    util.spawnv_passfds = _forked
    forkserver.set_forkserver_preload([])
    forkserver.ensure_running()
    subprocess.run = _run


def fork_workers(monkeypatch):
    """For one test: workers of this process are forks of one that has imported what they need."""
    contexts = multiprocessing.context._concrete_contexts
    monkeypatch.setitem(contexts, "spawn", contexts["forkserver"])
    forkserver.set_forkserver_preload(["swarm.workers.processes", "swarm.workers.serving"])


def _forked(path, arguments, descriptors):
    """In the place of a new interpreter that is told `-c code` and gets these descriptors."""
    pid = os.fork()
    if pid == 0:
        forkserver._forkserver._lock = threading.Lock()  # the one that there is was taken to come here
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) not in descriptors:
                with contextlib.suppress(OSError):  # the one that lists them
                    os.close(int(name))
        code = 1
        try:
            exec(arguments[arguments.index("-c") + 1], {"__name__": "__main__"})
            code = 0
        finally:
            os._exit(code)
    return pid


def _run(command, *, cwd=None, **options):
    if command[0] != sys.executable:
        return RUN(command, cwd=cwd, **options)
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("out", "err")]
        process = get_context("spawn").Process(target=_inside, args=(command[1:], cwd, said))
        process.start()
        process.join()
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in said))


def _inside(words, cwd, said):
    for number, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    if cwd is not None:
        os.chdir(cwd)
    start_by_forks()
    sys.exit(run_words(*words))


def run_words(first, *arguments):
    """Does what `python` does with these words: a script, -c or -m, and its arguments."""
    what = first
    if first in ("-c", "-m"):
        what, *arguments = arguments
    # what an interpreter puts first: the script's folder, or the working one
    sys.path[0] = str(Path(first).resolve().parent) if what is first else "" if first == "-c" else os.getcwd()
    sys.argv = [first if first == "-c" else what, *arguments]
    if first == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(what, run_name="__main__")
    return 0
