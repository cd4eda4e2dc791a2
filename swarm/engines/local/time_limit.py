"""A limit of time for Python code of strangers, such as chat templates, which may never end."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class EndlessError(Exception):
    """Raised in the block of `ended_after` that has not ended."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raises EndlessError in the block, in whatever thread, once it has taken so many seconds.

    It comes between two steps of Python code, so that a single call of a library's is waited for.
    """
    thread, lock, over = threading.get_ident(), threading.Lock(), [False]

    def end() -> None:
        with lock:
            if not over[0]:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(EndlessError))

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except EndlessError as error:
        raise EndlessError(f"it has not ended after {seconds:.0f} s") from error
    finally:
        with lock:
            over[0] = True
        timer.cancel()
