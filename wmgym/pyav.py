"""Video files through PyAV: how they are opened for all readers, and what becomes of damage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from wmgym.errors import RecordingError
from wmgym.extras import import_extra


def import_av(extra: str = "video-data") -> ModuleType:
    """Return PyAV.

    Args:
        extra: The one that brings it to whoever asks, for the message.

    Raises:
        DependencyError: It is missing.
    """
    return import_extra("av", "PyAV", "Video files cannot be read or written", extra)


@contextmanager
def open_video(path: Path, advice: str, *, guess: bool = False, extra: str = "video-data") -> Iterator[tuple[Any, Any]]:
    """Open a video to be decoded one frame at a time, by one thread; yield PyAV's container and its first video stream.

    What goes wrong inside the context is taken for the file's damage: do nothing there but decode.

    Args:
        path: The file.
        advice: Likely cause and fix, as the end of the message.
        guess: Have what is damaged shown as far as the decoder can guess it; frames may say that they are corrupt. By
            default most damage is an error. Video has no checksums, so some shows as wrong colours only.
        extra: See `import_av`.

    Raises:
        RecordingError: The file is missing, damaged or no video.
        MemoryError: There is no room for what is decoded.
        DependencyError: PyAV is missing.
    """
    av = import_av(extra)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if not guess:
                stream.codec_context.options = {"err_detect": "explode"}
            yield container, stream
    except Exception as error:  # PyAV raises a dozen kinds on damaged files, a MemoryError of its own too
        if isinstance(error, MemoryError) and not isinstance(error, av.FFmpegError):
            raise
        raise RecordingError(f"{path}: cannot be decoded ({error}). {advice}") from error
