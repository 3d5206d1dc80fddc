"""MineRL's streams as episodes.

The loader of minerl 0.4.4 (`DataPipeline._load_data_pyfunc`, which imports without Java) read a stream that
`minerl_streams` had written with the same frames but the last, bit for bit, the same actions and the same rewards.
"""

import json
import re
import zipfile

import numpy as np
import pytest

from wmgym import minerl_layout, recording
from wmgym.action_spaces import action_count
from wmgym.errors import RecordingError
from wmgym.minerl_camera import KeysAndCamera
from wmgym.minerl_recordings import find, read, read_stream, scan

pytest.importorskip("av")

from tests.wmgym.minerl_streams import KEYS, grey_frames, idle_rows, number_of, write_stream, write_video

STEPS = 12


@pytest.fixture
def stream(tmp_path):
    """A stream of 12 steps whose video begins 3 frames early."""
    forward, camera = np.zeros(STEPS, np.int64), np.zeros((STEPS, 2), np.float32)
    forward[2:5], camera[4] = 1, (0, 12)
    reward = np.zeros(STEPS)
    reward[[5, 11]] = 1.0
    arrays = idle_rows(STEPS, forward=forward, camera=camera, reward=reward, place=["none"] * STEPS)
    return write_stream(tmp_path / "MineRLTreechop-v0" / "v4_some_name-1_10-22", grey_frames(STEPS + 4), arrays)


def test_frames_actions_and_rewards_fit_together(stream):
    """Action t stands in row t + 1, with the frame that it led to."""
    got = read_stream(stream)
    episode = got.episode
    assert [number_of(frame) for frame in episode.image] == list(range(3, 16))
    assert episode.action.tolist() == [0, 0, 0, 1, 1, 13, 0, 0, 0, 0, 0, 0, 0]
    assert np.flatnonzero(episode.reward).tolist() == [6, 12]
    assert (got.leading, got.unsaid) == (3, 0)
    assert (episode.steps, episode.action_count, episode.policy, episode.seed) == (STEPS, 18, "human", None)
    assert episode.image.dtype == np.uint8
    assert episode.image.shape == (STEPS + 1, 64, 64, 3)
    assert not episode.terminated


def test_the_plain_reader_does_the_same(stream):
    plain, full = read(stream), read_stream(stream).episode
    np.testing.assert_array_equal(plain.image, full.image)
    np.testing.assert_array_equal(plain.action, full.action)


def test_a_success_is_an_end(tmp_path):
    path = write_stream(tmp_path / "v4_a-1_0-3", grey_frames(4), idle_rows(3), success=True)
    assert read(path).terminated


def test_frames_beyond_what_minerl_counted_are_left_out(tmp_path):
    path = write_stream(tmp_path / "v4_a-1_0-3", grey_frames(9), idle_rows(3), true_video_frame_count=6)
    got = read_stream(path)
    assert [number_of(frame) for frame in got.episode.image] == [2, 3, 4, 5]
    assert got.leading == 2


def test_without_a_count_the_video_says_where_it_ends(tmp_path):
    path = write_stream(tmp_path / "v4_a-1_0-3", grey_frames(9), idle_rows(3), true_video_frame_count=None)
    assert [number_of(frame) for frame in read(path).image] == [5, 6, 7, 8]


def test_keys_and_camera(tmp_path):
    mapping = KeysAndCamera()
    arrays = idle_rows(2, forward=[1, 0], left=[0, 1], camera=np.array([[0, 0], [99, -10]], np.float32))
    episode = read_stream(write_stream(tmp_path / "v4_a-1_0-2", grey_frames(3), arrays), mapping).episode
    assert episode.action_space == mapping.space
    assert episode.action_count == action_count(mapping.space) == 3 * 3 * 2 * 2 * 7 * 11
    expected = [
        np.ravel_multi_index(parts, tuple(mapping.space.nvec)) for parts in ((1, 0, 0, 0, 3, 5), (0, 2 - 1, 0, 0, 6, 0))
    ]
    assert episode.action.tolist() == [0, *expected]


def test_what_the_actions_cannot_say_is_counted(tmp_path):
    arrays = idle_rows(4, forward=[1, 1, 0, 0], craft=["none", "planks", "none", "none"], use=[0, 0, 0, 1])
    got = read_stream(write_stream(tmp_path / "v4_a-1_0-4", grey_frames(5), arrays))
    assert got.unsaid == 2
    assert got.episode.action.tolist() == [0, 1, 1, 0, 0]


def test_large_frames_are_averaged(tmp_path):
    frames = grey_frames(4, 360, 640)
    frames[:, :, 320:] += 60
    image = read_stream(write_stream(tmp_path / "v4_a-1_0-3", frames, idle_rows(3)), frame_size=32).episode.image
    assert image.shape == (4, 32, 32, 3)
    assert np.abs(image[:, :, :14].astype(int) - frames[:, :32, :14]).max() <= 3
    assert np.abs(image[:, :, 18:].astype(int) - frames[:, :32, 620:634]).max() <= 3


def test_streams_are_found_at_any_depth_and_sorted(stream):
    other = write_stream(stream.parent.parent / "MineRLNavigate-v0" / "v4_b-2_0-3", grey_frames(4), idle_rows(3))
    assert find(stream.parent.parent) == [other, stream]
    assert find(stream.parent) == find(stream) == [stream]
    with pytest.raises(RecordingError, match="no such folder"):
        find(stream / "nowhere")


def cut(name, kept):
    """Leave so much of a file."""
    return lambda path: (path / name).write_bytes(
        (path / name).read_bytes()[: int((path / name).stat().st_size * kept)]
    )


def instead(name, text):
    """Write something else into a file."""
    return lambda path: (path / name).write_text(text)


def without(name):
    """Remove a file."""
    return lambda path: (path / name).unlink()


def rows(**changed):
    """Put other arrays into the rows; `None` takes one away, "jump" and the like are actions."""

    def change(path):
        names = {key: key if key == "reward" else f"action${key}" for key in changed}
        kept = dict(np.load(path / "rendered.npz")) | {names[key]: value for key, value in changed.items()}
        np.savez_compressed(path / "rendered.npz", **{key: value for key, value in kept.items() if value is not None})

    return change


def encrypted(path):
    """Have the table of contents say that a password is needed."""
    data = (path / "rendered.npz").read_bytes()
    entries = [entry.start() for entry in re.finditer(b"PK\x01\x02", data)]
    kept = bytearray(data)
    for entry in entries:
        kept[entry + 8] |= 1
    (path / "rendered.npz").write_bytes(kept)


BROKEN_CAMERA = np.zeros((STEPS, 2), np.float32)
BROKEN_CAMERA[3] = np.nan
DAMAGES = {
    "cut video": (cut("recording.mp4", 0.5), "cannot be decoded"),
    "no video": (without("recording.mp4"), "recording.mp4 missing"),
    "no metadata": (without("metadata.json"), "metadata.json missing"),
    "short video": (lambda path: write_video(path / "recording.mp4", grey_frames(STEPS)), f"{STEPS} frames, expected"),
    "cut rows": (cut("rendered.npz", 0.9), "cannot be read"),
    "encrypted rows": (encrypted, "cannot be read .*password"),
    "cut metadata": (instead("metadata.json", '{"success": tr'), "cannot be read"),
    "other metadata": (instead("metadata.json", "[]"), "expected a dictionary"),
    "no reward": (rows(reward=None), "expected reward"),
    "no actions": (rows(**dict.fromkeys([*KEYS, "camera", "place"])), "expected reward and action"),
    "uneven rows": (rows(jump=np.zeros(STEPS - 1)), r"'action\$jump': 11"),
    "pickles": (rows(jump=np.array([None] * STEPS)), "cannot be read"),
    "infinite reward": (rows(reward=np.full(STEPS, np.inf)), "not finite"),
    "one reward": (rows(reward=np.float32(1)), "expected a row for each step"),
    "broken camera": (rows(camera=BROKEN_CAMERA), "two finite numbers"),
    "obfuscated": (rows(vector=np.zeros((STEPS, 64))), "VectorObf"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named_and_skipped(stream, kind):
    sound = write_stream(stream.parent / "v4_sound-1_0-3", grey_frames(4), idle_rows(3))
    damage, words = DAMAGES[kind]
    damage(stream)
    with pytest.raises(RecordingError, match=words) as caught:
        read(stream)
    assert str(stream) in str(caught.value)
    found = scan(stream.parent)
    assert found.usable == [sound]
    assert list(found.unusable) == [stream]
    assert str(stream) in found.unusable[stream]


@pytest.mark.parametrize("seed", range(5))
def test_damage_inside_a_video_shows_when_it_is_read(tmp_path, seed):
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    frames = np.stack([np.roll(coarse, 3 * number, axis=1) for number in range(41)])
    path = write_stream(tmp_path / "v4_a-1_0-40", frames, idle_rows(40))
    read(path)
    video = bytearray((path / "recording.mp4").read_bytes())
    for place in rng.integers(len(video) // 4, len(video) // 2, 8):
        video[place] ^= int(rng.integers(1, 256))
    (path / "recording.mp4").write_bytes(video)
    assert scan(tmp_path).usable == [path]
    with pytest.raises(RecordingError, match="cannot be decoded"):
        read(path)


def test_streams_by_the_names_that_recordings_have(stream):
    video = stream / "recording.mp4"
    minerl_layout.check_episode(video)
    episode = minerl_layout.read_episode(video)
    np.testing.assert_array_equal(episode.image, read(stream).image)
    assert minerl_layout.read_frame_size(video) == episode.image.shape[1] == 64
    assert minerl_layout.read_episode(video, frame_size=32).image.shape[1] == 32
    assert minerl_layout.read_summary(video) == (STEPS + 1, 2.0, "human")
    assert minerl_layout.read_state(video) == ({}, None, "human")
    digest = minerl_layout.content_digest(video)
    assert minerl_layout.content_digest(video) == digest
    DAMAGES["no reward"][0](stream)
    for function in (
        minerl_layout.check_episode,
        minerl_layout.read_episode,
        minerl_layout.read_frame_size,
        minerl_layout.read_summary,
        minerl_layout.read_state,
        minerl_layout.content_digest,
    ):
        with pytest.raises(RecordingError, match="expected reward"):
            function(video)


def test_scripts_read_streams_where_they_lie(stream):
    found = recording.scan(stream.parent)
    assert (found.usable, found.unusable) == ([stream / "recording.mp4"], {})
    np.testing.assert_array_equal(recording.read_episode(found.usable[0]).image, read(stream).image)
    assert recording.read_summary(found.usable[0]) == (STEPS + 1, 2.0, "human")
    DAMAGES["no reward"][0](stream)
    assert "expected reward" in recording.scan(stream.parent).unusable[stream / "recording.mp4"]


def test_another_action_is_another_stream(stream):
    before = minerl_layout.content_digest(stream / "recording.mp4")
    rows(jump=np.arange(STEPS) % 2)(stream)
    assert minerl_layout.content_digest(stream / "recording.mp4") != before


def test_sound_streams_are_usable(stream):
    assert scan(stream.parent).usable == [stream]
    assert scan(stream.parent).unusable == {}


def test_the_stream_that_minerl_refuses(tmp_path):
    path = write_stream(tmp_path / "v4_tempting_capers_shapeshifter-14_100-103", grey_frames(4), idle_rows(3))
    with pytest.raises(RecordingError, match="its own loader refuses"):
        read(path)
    assert list(scan(tmp_path).unusable) == [path]


def test_less_than_minerl_counted_is_a_truncated_video(stream):
    told = json.loads((stream / "metadata.json").read_text())
    (stream / "metadata.json").write_text(json.dumps({**told, "true_video_frame_count": 17}))
    with pytest.raises(RecordingError, match="16 frames, expected at least 17"):
        read(stream)


def test_frames_that_would_have_to_grow(stream):
    with pytest.raises(RecordingError, match=r"frame 0: .*at least 65"):
        read_stream(stream, frame_size=65)


def test_nothing_observed_is_read(stream, monkeypatch):
    """`rendered.npz` holds far more than what is wanted: only that is decompressed."""
    opened = []
    original = zipfile.ZipFile.open

    def watch(self, name, *args, **kwargs):
        opened.append(name if isinstance(name, str) else name.filename)
        return original(self, name, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "open", watch)
    read(stream)
    assert any(name.startswith("action$") for name in opened)
    assert not any(name.startswith("observation$") for name in opened)


def test_real_frames_of_a_maze_survive_as_video_does(tmp_path):
    """Frames of the real Memory Maze, as H.264 keeps them: recognisable, and each nearest to its own original."""
    pytest.importorskip("dm_control")
    import gymnasium

    env = gymnasium.make("wmgym/MemoryMaze-9x9-v0")
    frames = [env.reset(seed=0)[0]]
    frames += [env.step(action)[0] for action in (1, 1, 2, 2, 1, 4)]
    frames = np.stack(frames)
    image = read(write_stream(tmp_path / "v4_maze-1_0-5", frames, idle_rows(5))).image
    distances = np.abs(image[:, None].astype(int) - frames[None, 1:]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(distances.argmin(axis=1), np.arange(6))
    assert distances.diagonal().max() < 8
