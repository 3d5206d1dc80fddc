"""Frames of an episode are found in LeRobot's videos of many: in those that lerobot wrote, and in others."""

import numpy as np
import pytest

from tests.wmgym import lerobot_fixture as fixture
from tests.wmgym.lerobot_sets import (
    EPISODES,
    EPISODES_FILE,
    FOLDER,
    FPS,
    LENGTHS,
    VIDEO,
    VIDEO_FILE,
    change_parquet,
    frames_of,
)
from wmgym import lerobot_video
from wmgym.errors import RecordingError
from wmgym.lerobot_recordings import LeRobotRecordings
from wmgym.lerobot_video import decode_at

pytest.importorskip("pyarrow.parquet")
av = pytest.importorskip("av")


@pytest.mark.parametrize("episode", EPISODES)
def test_frames_of_an_episode_are_found_in_a_video_of_many(episode):
    """Each is nearest to the frame that was written there, among all that were."""
    given = list(decode_at(*frames_of(episode), FPS))
    written = [fixture.video_frame(other, row) for other in EPISODES for row in range(LENGTHS[other])]
    first = sum(LENGTHS[:episode])
    for row, frame in enumerate(given):
        errors = [np.abs(frame.astype(float) - other).mean() for other in written]
        assert int(np.argmin(errors)) == first + row
        assert min(errors) < 6, "AV1 at lerobot's quality errs by about 1 grey level, 5 in the worst frame"


@pytest.mark.parametrize("episode", EPISODES)
def test_videos_become_square_frames(episode):
    from PIL import Image

    squashed = [
        Image.fromarray(frame).resize((16, 16), Image.Resampling.BOX) for frame in decode_at(*frames_of(episode), FPS)
    ]
    given = LeRobotRecordings(FOLDER, VIDEO, frame_size=16).read(episode).image
    np.testing.assert_allclose(given, np.stack(squashed), atol=1)  # one pass or two: rounding
    with pytest.raises(RecordingError, match=r"48x64, expected squares.*--frame-size"):
        LeRobotRecordings(FOLDER, VIDEO).read(episode)


def test_only_the_episode_is_decoded(monkeypatch):
    decoded = []
    frames_from = lerobot_video._frames_from

    def watch(*arguments):
        for time, frame in frames_from(*arguments):
            decoded.append(time)
            yield time, frame

    monkeypatch.setattr(lerobot_video, "_frames_from", watch)
    LeRobotRecordings(FOLDER, VIDEO, frame_size=16).read(1)
    assert len(decoded) <= LENGTHS[1] + 1  # a key frame every two
    assert min(decoded) >= 0.4


@pytest.mark.parametrize("options", [{"g": "12", "bf": "3"}, {"g": "250", "bf": "0"}])
def test_frames_are_found_between_key_frames_far_apart(tmp_path, options):
    """As data sets of other recorders have them: frames that refer to later ones, stored out of order."""
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for level in range(20, 245, 5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for first, count in ((0, 5), (20, 11), (44, 1)):
        given = list(decode_at(path, np.arange(first, first + count) / FPS, FPS))
        levels = [frame.mean() for frame in given]
        expected = 20 + 5 * np.arange(first, first + count)
        np.testing.assert_allclose(levels, expected, atol=2.4)  # less than half of what frames differ by


def test_damaged_bits_of_a_video_are_mostly_found(lerobot_copy):
    """A frame that does not decode is an error, and no guess at what it might have shown."""
    path = lerobot_copy / VIDEO_FILE
    sound = path.read_bytes()
    start = sound.index(b"mdat") + 4
    times = np.arange(12) / FPS
    expected = list(decode_at(path, times, FPS))
    wrong = 0
    places = range(start, len(sound), 29)
    for place in places:
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 255]) + sound[place + 1 :])
        try:
            wrong += not np.array_equal(list(decode_at(path, times, FPS)), expected)
        except RecordingError:
            continue
    assert wrong < len(places) / 5


def test_times_beyond_a_video_are_named(lerobot_copy):
    start = f"videos/{VIDEO}/from_timestamp"
    change_parquet(lerobot_copy / EPISODES_FILE, **{start: lambda times: [times[0], times[1] + 0.3, times[2]]})
    recordings = LeRobotRecordings(lerobot_copy, VIDEO, frame_size=16)
    with pytest.raises(RecordingError, match=r"file-000.mp4: no frame at 1.200 s, expected one within 0.050 s"):
        recordings.read(1)
    recordings.read(0)
