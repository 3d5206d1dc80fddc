"""What an MP4 file says of itself: frames, their size, and a fingerprint, from its table of contents alone.

No frame is decoded and no video library is needed, so that a set of 200,000 files is looked through in seconds. Frames
are not touched: damage among them shows when they are decoded (`wmgym.video_decoding`).
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wmgym.errors import RecordingError

_LARGEST_TABLE = 64 * 2**20
_SIZE_AT = 40  # of width and height in `stsd`: its own header, then that of the first entry (ISO/IEC 14496-12, 12.1.3)


@dataclass(frozen=True)
class Mp4Table:
    """What the table of contents (`moov`) of a file says of its first video track."""

    frames: int
    """How many there are."""

    height: int
    """Of a frame, pixels."""

    width: int
    """Of a frame, pixels."""

    fingerprint: str
    """Length of the file and checksum of the table, which lists the bytes of each frame: tells videos apart."""


def read_mp4_table(path: Path) -> Mp4Table:
    """Read the table of contents of an MP4 file.

    Raises:
        RecordingError: There is no such file, it is truncated or no MP4 file, or has no video or no frames.
    """
    try:
        with open(path, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            table = _read_moov(path, file, length)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error}). Fix: fetch the file again.") from error
    for track in _children(table, b"trak"):
        media = _first(track, b"mdia")
        if _first(media, b"hdlr")[8:12] == b"vide":
            samples = _first(_first(media, b"minf"), b"stbl")
            frames = int.from_bytes(_first(samples, b"stsz")[8:12], "big")
            size = _first(samples, b"stsd")[_SIZE_AT : _SIZE_AT + 4]
            if len(size) == 4 and frames:
                width, height = int.from_bytes(size[:2], "big"), int.from_bytes(size[2:], "big")
                return Mp4Table(frames, height, width, f"{length}:{zlib.crc32(table):08x}")
    raise RecordingError(
        f"{path}: its table of contents lists no frames of a video, expected an MP4 file as OpenCV and FFmpeg write "
        "it. Likely cause: a recorder that was killed, or a fragmented file. Fix: leave it out, or rewrite it with "
        "ffmpeg -i FILE -c copy."
    )


def _read_moov(path: Path, file: BinaryIO, length: int) -> bytes:
    """Return the content of the box `moov`, having seen that no box before it, nor itself, is cut short."""
    start, found = 0, b""
    while start + 8 <= length:
        file.seek(start)
        header = file.read(16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        head = 16 if size == 1 else 8
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        size = size or length - start  # 0: up to the end of the file
        if start == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
            raise RecordingError(
                f"{path}: begins with {header[:8]!r}, no MP4 file. Fix: fetch or convert it again, or leave it out."
            )
        if size < head or start + size > length:
            missing = f", {start + size - length} bytes are missing" if size >= head else ""
            raise RecordingError(f"{path}: truncated or damaged{missing}. Fix: fetch it again, or leave it out.")
        if kind == b"moov" and size <= _LARGEST_TABLE:
            file.seek(start + head)
            found = file.read(size - head)
        start += size
    if not found:
        raise RecordingError(
            f"{path}: has no table of contents. Likely cause: truncated, or a recorder that was killed. Fix: fetch it "
            "again, or leave it out."
        )
    return found


def _children(box: bytes, kind: bytes) -> Iterator[bytes]:
    """Yield the contents of the boxes of a kind that lie in a box."""
    start = 0
    while start + 8 <= len(box):
        size = int.from_bytes(box[start : start + 4], "big")
        if size < 8:
            return
        if box[start + 4 : start + 8] == kind:
            yield box[start + 8 : start + size]
        start += size


def _first(box: bytes, kind: bytes) -> bytes:
    """Return the content of the first box of a kind in a box, empty if there is none."""
    return next(_children(box, kind), b"")
