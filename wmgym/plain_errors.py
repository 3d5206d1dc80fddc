"""Scripts that tell what was asked for wrongly in a message alone, without the lines of code that it came through."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WANTED = "WMGYM_TRACEBACK"
"""Environment variable that brings the lines of code back, if it is set to anything."""
_PACKAGES = ("wmgym", "agents", "model")


@contextmanager
def plain_errors() -> Iterator[None]:
    """End the program with the message of an error that our own code raised on purpose, or of a file, and status 1.

    All others, such as those of a mistake in our code or of the packages below it, keep their traceback.

    Ctrl-C ends it with status 130, if the script has not made something of it itself.

    Raises:
        SystemExit: In place of Ctrl-C and of such an error, this unless `WMGYM_TRACEBACK` is set.
    """
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get(WANTED) or not _on_purpose(error):
            raise
        sys.exit(f"\n{type(error).__name__}: {error}\n({WANTED}=1 shows where in the code.)")


def _on_purpose(error: Exception) -> bool:
    """Say whether a statement of our packages or scripts raised it, or a file that cannot be used is named in it."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = [Path(__file__).resolve().parents[1] / name for name in _PACKAGES] + [Path(sys.argv[0]).resolve().parent]
    raised_here = any(folder in Path(last.filename).resolve().parents for folder in ours)
    return raised_here and (last.line or "").startswith("raise ")
