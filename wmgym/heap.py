"""Keep memory that was freed, for the next tensor of its size; say how much there is."""

import ctypes
import os
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""glibc's `M_TRIM_THRESHOLD` and `M_MMAP_MAX` (malloc.h)."""
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory of this process and not to hand it back to the system.

    Tensors of some megabytes are else asked from the system and given back at each step, and every page of them is
    cleared and mapped anew, which can take longer than what is computed in them. Costs: the process never shrinks.
    The scripts in `experiments/` call this as they begin; whoever steps large batches on a processor may, too.

    Returns:
        Whether it did: only where the C library is glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, _NEVER))


def resident_bytes() -> int:
    """Return the memory that this process has resident now; on Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
