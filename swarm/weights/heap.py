"""Settings of the C library's allocator for memory that torch has freed."""

import ctypes
import functools
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt(3)
LARGEST_KEPT = 32 * 2**20  # bytes of one block, the most that glibc allows
MOST_KEPT = 128 * 2**20  # bytes of them together


@functools.cache
def keep_freed_memory() -> None:
    """Has the process keep blocks up to LARGEST_KEPT for their next use, MOST_KEPT in all; does nothing without glibc.

    By default glibc gives a block of some megabytes back to the system or keeps it, as the heap happens to lie. Having
    it anew costs a page fault every 4 KiB, which takes longer than adding up the numbers that it is for.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
