"""What a worker process says reaches its parent's log as it was meant: for the terminal, or for the file alone."""

import logging
from multiprocessing import Pipe

import pytest

from swarm.workers.worker_process import Said, _ParentLog


@pytest.mark.parametrize("extra", [None, {"file_only": True}])
def test_what_is_for_the_file_alone_stays_so(extra):
    ours, theirs = Pipe()
    logger = logging.Logger("swarm.engines")
    logger.addHandler(_ParentLog(theirs))
    logger.warning("so %d", 3, extra=extra)
    assert ours.recv() == Said(logging.WARNING, "swarm.engines", "so 3", extra is not None)
