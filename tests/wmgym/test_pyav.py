"""All readers of videos open them alike, and say alike what is missing."""

import errno
import sys
from contextlib import suppress

import numpy as np
import pytest

pytest.importorskip("av")

from tests.wmgym.lerobot_sets import FOLDER, FPS, IMAGE, VIDEO, VIDEO_FILE
from tests.wmgym.minerl_streams import grey_frames, idle_rows, write_stream, write_video
from wmgym import minerl_recordings
from wmgym.errors import DependencyError, RecordingError
from wmgym.lerobot_recordings import LeRobotRecordings
from wmgym.lerobot_video import decode_at
from wmgym.pyav import open_video


def test_without_pyav_each_reader_names_its_own_extra(tmp_path, monkeypatch):
    stream = write_stream(tmp_path / "v4_a-1_0-3", grey_frames(4), idle_rows(3))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DependencyError, match=r"without PyAV .*pip install -e '\.\[lerobot\]' in a clone of wmgym"):
        next(decode_at(FOLDER / VIDEO_FILE, np.zeros(1), FPS))
    for read in (minerl_recordings.check, minerl_recordings.read):
        with pytest.raises(
            DependencyError, match=r"without PyAV .*pip install -e '\.\[video-data\]' in a clone of wmgym"
        ):
            read(stream)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100, None], ids=["empty", "garbage", "gone"])
def test_what_cannot_be_opened_is_named_with_the_advice(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with (
        pytest.raises(RecordingError, match=r"a.mp4: cannot be decoded \(.*\). Burn it."),
        open_video(path, "Burn it."),
    ):
        pass


def test_a_lack_of_memory_is_no_damage(tmp_path):
    """But FFmpeg's own, which it tells of files that claim too much, is."""
    import av

    path = tmp_path / "a.mp4"
    write_video(path, grey_frames(4))
    with pytest.raises(MemoryError, match="no room"), open_video(path, ""):
        raise MemoryError("no room")
    with pytest.raises(RecordingError, match=r"cannot be decoded \(.*Cannot allocate memory"), open_video(path, ""):
        av.error.err_check(-errno.ENOMEM)


def test_a_lack_of_memory_is_no_damage_of_lerobots_episodes(monkeypatch):
    pytest.importorskip("pyarrow")

    class Full:
        def __init__(self, *_):
            raise MemoryError("no room")

    for image, broken in ((VIDEO, "av.open"), (IMAGE, "PIL.Image.open")):
        recordings = LeRobotRecordings(FOLDER, image)
        monkeypatch.setattr(broken, Full)
        with pytest.raises(MemoryError, match="no room"):
            recordings.read(0)


def test_damage_may_be_guessed_at_or_not(tmp_path):
    """Of some damaged files: an error by default, and all frames, some said to be corrupt, where guesses are asked for.

    Which bytes a video has depends on the encoder's release and the processor, so several places are damaged in turn.
    """
    path = tmp_path / "a.mp4"
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    write_video(path, np.stack([np.roll(coarse, 3 * number, axis=1) for number in range(41)]))
    whole = path.read_bytes()

    def decoded(guess):
        with open_video(path, "", guess=guess) as (container, stream):
            return list(container.decode(stream))

    assert len(decoded(guess=False)) == 41
    guessed_at = 0
    for _ in range(40):
        data = bytearray(whole)
        for place in rng.integers(len(data) // 4, len(data) // 2, 8):
            data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            decoded(guess=False)
        except RecordingError as error:
            assert "cannot be decoded" in str(error)  # noqa: PT017  (not every damage is told)
            with suppress(RecordingError):
                frames = decoded(guess=True)
                guessed_at += len(frames) == 41 and any(frame.is_corrupt for frame in frames)
    assert guessed_at
