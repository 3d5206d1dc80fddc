"""One run at a time in a folder: two that write the same files would spoil each other's.

The lock is the operating system's, so it is gone with its process, however that ends; the file stays and says nothing
by being there.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

LOCK_FILE = ".lock"


class FolderInUseError(RuntimeError):
    """Another run writes into the folder."""


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder as long as this is open.

    Processes that are started or forked meanwhile do not inherit the lock. Nothing is kept out on Windows, and on file
    systems that know no locks.

    Args:
        folder: To write into; made if it is not there.

    Raises:
        FolderInUseError: Another run, of this process or another one, has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+") as file:
        if not _lock(file):
            file.seek(0)
            raise FolderInUseError(
                f"{folder} given to write into, expected a folder in which no other run is going on: process "
                f"{file.read().strip() or 'unknown'} writes there now. Likely cause: the same command was started "
                "twice. Wait until that run has ended, or end it, or pass another --output."
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def only_training_in(folder: Path, fabric: Any) -> Iterator[None]:
    """Keep other runs out of a folder during a training that may be of several processes; the first one has the lock.

    Args:
        folder: To write into; made if it is not there.
        fabric: Of lightning_fabric, launched; all its processes come here.

    Raises:
        FolderInUseError: Another run has it. Only in the first process; the others end without a word.
    """
    refused = None
    with ExitStack() as held:
        if fabric.is_global_zero:
            try:
                held.enter_context(only_run_in(folder))
            except FolderInUseError as error:
                refused = error
        if fabric.broadcast(refused is not None):
            raise refused or SystemExit(0)
        yield


def _lock(file: TextIO) -> bool:
    """Lock a file until it is closed, if it can be locked at all; say whether nobody else has it."""
    if sys.platform == "win32":
        return True
    import fcntl

    os.register_at_fork(after_in_child=file.close)  # or the lock would last as long as the child
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
    return True
