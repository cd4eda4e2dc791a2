"""Processes that start in no time: one process imports everything once and forks for every command.

What a fork runs is what a front door runs; it can be killed like any process. `python preloaded.py` is the forking
side, `Preloaded` the one that tests hold.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path


class Running:
    """A command that has been started."""

    def __init__(self, server, out, err):
        self._server, self._out, self._err = server, out, err
        self.pid = json.loads(server.stdout.readline())["pid"]

    def kill(self, number):
        """Sends a signal, if the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self):
        """(exit code or minus the signal, stdout, stderr)."""
        self._server.stdin.write("wait\n")
        self._server.stdin.flush()
        code = json.loads(self._server.stdout.readline())["code"]
        return code, self._out.read_text(), self._err.read_text()

    def done(self):
        """Whether it has ended."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "Z"


class Preloaded:
    """Starts commands; one at a time."""

    def __init__(self, folder):
        self.folder = folder
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, program, *arguments, cwd, file_limit=None):
        """Starts `search` or `evaluate` with these arguments; `file_limit` is the largest file that it may write."""
        out, err = self.folder / "out", self.folder / "err"
        command = {
            "program": program,
            "arguments": [str(a) for a in arguments],
            "cwd": str(cwd),
            "out": str(out),
            "err": str(err),
            "file_limit": file_limit,
        }
        self._server.stdin.write(json.dumps(command) + "\n")
        self._server.stdin.flush()
        return Running(self._server, out, err)

    def run(self, program, *arguments, cwd, file_limit=None):
        """The same, to its end."""
        return self.start(program, *arguments, cwd=cwd, file_limit=file_limit).wait()

    def close(self):
        """Ends the forking process."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _child(command):
    os.chdir(command["cwd"])
    os.environ["XDG_CACHE_HOME"] = command["cwd"] + "/.cache"
    for number, path in ((0, "/dev/null"), (1, command["out"]), (2, command["err"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, number)
    if command["file_limit"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["file_limit"],) * 2)
    from swarm import front_doors

    try:
        code = front_doors.guarded(lambda: PROGRAMS[command["program"]](command["arguments"]))
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    import sklearn.feature_extraction.text  # noqa: F401
    import torch

    import swarm.fusion.engine
    import swarm.routers.engine  # noqa: F401 (what a program imports once it knows its members)
    from swarm.scoring import evaluate_program
    from swarm.searching import search_program

    torch.set_num_threads(1)
    PROGRAMS = {"search": search_program, "evaluate": evaluate_program}
    pid = 0
    for line in sys.stdin:
        if line == "wait\n":
            _, status = os.waitpid(pid, 0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line))
        print(json.dumps({"pid": pid}), flush=True)
