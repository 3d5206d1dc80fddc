"""Videos with actions, in TECO's layout: what belongs to what is read off the frames themselves."""

import json
import sys
from fractions import Fraction

import av
import gymnasium
import numpy as np
import pytest

import wmgym
from wmgym.action_spaces import from_model
from wmgym.codec import psnr
from wmgym.errors import DependencyError, RecordingError
from wmgym.heap import resident_bytes
from wmgym.mp4_table import read_mp4_table
from wmgym.recording import (
    Episode,
    content_digest,
    read_episode,
    read_frame_size,
    read_state,
    read_summary,
    record_episode,
    scan,
    write_episode,
)
from wmgym.video_rules import VideoRules
from wmgym.video_writing import write_video_episode

FRAMES = 31
HELD = 5
NUMBERS = np.concatenate([[0], np.repeat([1, 2, 1, 3, 1, 3], HELD)])  # as the published policy holds them
GREY = 60  # per number


def tell_tale(numbers, size=32):
    """Frames whose brightness is the number that led to them."""
    return np.broadcast_to((numbers * GREY)[:, None, None, None], (len(numbers), size, size, 3)).astype(np.uint8)


def read_off(image):
    """The numbers that such frames tell."""
    return np.rint(image.mean((1, 2, 3)) / GREY).astype(int)


def write(path, image, numbers):
    """A video and the numbers beside it, whatever they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    episode = Episode(image, np.zeros(len(image), np.int64), np.zeros(len(image), np.float32), action_count=3)
    write_video_episode(path, episode, VideoRules())
    np.savez(path.with_suffix(".npz"), actions=np.asarray(numbers))
    return path


def state_rules(folder, **rules):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"first_action": 1, "action_count": 3} | rules))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "minecraft" / "train"


@pytest.fixture
def path(folder):
    return write(folder / "w0" / "000000.mp4", tell_tale(NUMBERS), NUMBERS.astype(np.int32))


@pytest.fixture(scope="module")
def walk():
    """A real walk over textures, by three of its actions."""
    wmgym.register_all()
    rng = np.random.default_rng(0)
    env = gymnasium.make("wmgym/TextureWorld-v0", size=64)
    made = record_episode(env, lambda *_: int(rng.integers(3)), seed=1, policy_name="random", max_steps=40)
    return Episode(made.image, made.action, made.reward, action_count=3)


def test_what_is_written_is_read_back_but_for_the_video_s_loss(tmp_path, walk):
    errors = []
    for quality in (1, 8):
        write_video_episode(tmp_path / f"{quality}.mp4", walk, VideoRules(), quality)
        again = read_episode(tmp_path / f"{quality}.mp4")
        np.testing.assert_array_equal(again.action, walk.action)
        assert (again.action_count, again.action_space) == (3, gymnasium.spaces.Discrete(3, start=1))
        assert (again.seed, again.policy, again.state, again.terminated) == (None, None, {}, False)
        np.testing.assert_array_equal(again.reward, np.zeros(41, np.float32))
        errors.append(psnr(walk.image, again.image).min())
    assert errors[0] > 25 > errors[0] - errors[1] > 1  # textures of single pixels, colours of every second one
    with np.load(tmp_path / "1.npz") as archive:
        assert (archive.files, archive["actions"].dtype, archive["actions"][0]) == (["actions"], np.int32, 0)


def test_published_files_are_read_in_place(path, folder):
    episode = read_episode(path)
    np.testing.assert_array_equal(episode.action[1:], NUMBERS[1:] - 1)
    np.testing.assert_array_equal(read_off(episode.image)[1:], NUMBERS[1:])
    assert scan(folder).usable == [path]
    assert read_summary(path) == (FRAMES, 0.0, "unknown")
    assert read_frame_size(path) == 32
    assert read_state(path) == ({}, None, None)


@pytest.mark.parametrize(
    ("frames", "numbers", "kept"),
    [
        (slice(None), slice(None), FRAMES),
        (slice(-1), slice(None), FRAMES - 1),  # the last frame is lost: 300 frames, 301 numbers
        (slice(None), slice(-1), FRAMES - 1),  # the last number is lost: 301 frames, 300 numbers
        (slice(None), slice(1, None), FRAMES),  # the placeholder was left out: 301 frames, 300 numbers
    ],
)
def test_each_number_is_that_of_the_frame_it_led_to(folder, frames, numbers, kept):
    path = write(folder / "w0" / "0.mp4", tell_tale(NUMBERS)[frames], NUMBERS[numbers])
    episode = read_episode(path)
    assert len(episode.image) == len(episode.action) == len(episode.reward) == kept == read_summary(path)[0]
    np.testing.assert_array_equal(read_off(episode.image)[1:], episode.action[1:] + 1)


def test_sets_without_a_placeholder_say_so(folder):
    state_rules(folder.parent, placeholder=None, first_action=0)
    numbers = np.arange(FRAMES) % 3
    for name, given in (("as many", numbers), ("one less", numbers[1:])):
        episode = read_episode(write(folder / "w0" / f"{name}.mp4", tell_tale(numbers), given))
        np.testing.assert_array_equal(read_off(episode.image)[1:], episode.action[1:])
    with pytest.raises(RecordingError, match="expected as many, or one more or less"):
        read_episode(write(folder / "w0" / "more.mp4", tell_tale(numbers)[:-1], numbers))


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        (NUMBERS[:-2], "31 frames and 29 actions given, expected as many"),
        ([*NUMBERS, 1, 1], "31 frames and 33 actions given, expected as many"),
        (np.where(np.arange(FRAMES) == 7, 9, NUMBERS), "action 9 led to frame 7, expected 1 to 3"),
        (np.where(np.arange(FRAMES) == 7, 0, NUMBERS), "action 0 led to frame 7"),
        (np.maximum(NUMBERS, 1), "the first of them 1, expected the placeholder 0"),
        (NUMBERS.astype(np.float32), "actions are float32"),
        (NUMBERS[:, None], r"actions are int64 \(31, 1\)"),
        (np.zeros(0, int), "expected as many"),
    ],
)
def test_actions_that_do_not_fit_are_named_and_the_rest_is_used(path, folder, numbers, named):
    odd = write(folder / "w1" / "000000.mp4", tell_tale(NUMBERS), numbers)
    found = scan(folder)
    assert found.usable == [path]
    assert list(found.unusable) == [odd]
    assert "Fix: " in found.unusable[odd]
    with pytest.raises(RecordingError, match=f"w1/000000.*{named}"):
        read_episode(odd)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def cut_within_frames(path):
    path.write_bytes(path.read_bytes()[:300])


def garbage(path):
    path.write_bytes(b"no video at all" * 100)


def empty(path):
    path.write_bytes(b"")


def without_actions(path):
    path.with_suffix(".npz").unlink()


def without_the_key(path):
    np.savez(path.with_suffix(".npz"), action=NUMBERS)


def broken_archive(path):
    path.with_suffix(".npz").write_bytes(b"PK")


def killed_recorder(path):
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


@pytest.mark.parametrize(
    "damage",
    [cut, cut_within_frames, garbage, empty, without_actions, without_the_key, broken_archive, killed_recorder],
)
def test_damage_that_a_table_of_contents_shows_is_found_by_scan(path, folder, damage):
    odd = write(folder / "w1" / "7.mp4", tell_tale(NUMBERS), NUMBERS)
    damage(odd)
    found = scan(folder)
    assert found.usable == [path]
    assert odd.stem in found.unusable[odd]
    with pytest.raises(RecordingError, match="w1/7"):
        read_episode(odd)


def test_a_video_that_is_missing_is_told(path):
    path.unlink()
    with pytest.raises(RecordingError, match=r"missing video, and there is no 000000.mp4 beside it; found actions"):
        read_episode(path.with_suffix(".npz"))
    assert list(scan(path.parent.parent).unusable) == [path.with_suffix(".npz")]


def test_damaged_frames_are_an_error_and_no_guess(tmp_path, walk):
    path = tmp_path / "a.mp4"
    write_video_episode(path, walk, VideoRules())
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(np.random.default_rng(0).integers(0, 256, 400, np.uint8))
    path.write_bytes(data)
    assert scan(tmp_path).usable == [path]
    with pytest.raises(RecordingError, match=r"a.mp4: .*Fix: fetch it again"):
        read_episode(path)


def test_frames_that_change_their_size_are_named(folder):
    """Pictures in MJPEG carry their own size, whatever the file says."""
    path = write(folder / "w0" / "0.mp4", tell_tale(NUMBERS), NUMBERS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=20)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        for i in range(FRAMES):
            side = 32 if i < 20 else 48
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width = encoder.height = side
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuvj420p", Fraction(1, 20), 20
            frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), 99, np.uint8), format="rgb24")
            for packet in encoder.encode(frame.reformat(format="yuvj420p")):
                packet.stream, packet.pts, packet.dts = stream, i, i
                container.mux(packet)
    with pytest.raises(RecordingError, match=r"0.mp4: frame 20 has 48x48 pixels, the file says 32x32"):
        read_episode(path)


@pytest.mark.parametrize("size", [16, 64])
def test_the_table_of_contents_says_what_the_decoder_finds(folder, size):
    path = write(folder / "w0" / "0.mp4", tell_tale(NUMBERS, size), NUMBERS)
    table = read_mp4_table(path)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (table.frames, table.height, table.width) == (len(frames), *frames[0].shape[:2])
    np.testing.assert_array_equal(read_episode(path).image, np.stack(frames))


def test_skipping_keeps_every_kth_frame_with_the_action_held_on_the_way(path, folder):
    whole = read_episode(path)
    state_rules(folder.parent, frame_skip=HELD)
    held = read_episode(path)
    np.testing.assert_array_equal(held.image, whole.image[::HELD])
    np.testing.assert_array_equal(held.action[1:], whole.action[1:].reshape(-1, HELD)[:, 0])
    assert held.action_space == gymnasium.spaces.Discrete(3, start=1)
    assert read_summary(path)[0] == 1 + (FRAMES - 1) // HELD


def test_actions_that_are_not_held_are_refused_or_combined_without_loss(path, folder):
    state_rules(folder.parent, frame_skip=2)
    with pytest.raises(RecordingError, match=r"actions \[1, 2\] led from frame 4 to frame 6.*mixed_actions"):
        read_episode(path)
    assert list(scan(folder).unusable) == [path]
    state_rules(folder.parent, frame_skip=2, mixed_actions="combine")
    combined = read_episode(path)
    assert combined.action_count == 9
    np.testing.assert_array_equal(from_model(combined.action_space, combined.action[1:]).ravel(), NUMBERS[1:])
    np.testing.assert_array_equal(read_off(combined.image)[1:], NUMBERS[2::2])


def test_what_remains_after_the_last_kept_frame_is_left_out(path, folder):
    state_rules(folder.parent, frame_skip=20, mixed_actions="refuse", action_count=1, first_action=0, placeholder=None)
    np.savez(path.with_suffix(".npz"), actions=np.zeros(FRAMES, np.int32))
    assert len(read_episode(path).image) == 2


def test_smaller_frames_are_means_of_areas(tmp_path, walk):
    write_video_episode(tmp_path / "a.mp4", walk, VideoRules())
    whole, half = read_episode(tmp_path / "a.mp4").image, read_episode(tmp_path / "a.mp4", frame_size=32).image
    areas = whole.reshape(-1, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(half - areas).max() <= 1  # rows, then columns, each rounded
    with pytest.raises(RecordingError, match=r"a.mp4: frames of 64x64 pixels asked for in 128x128.*--frame-size"):
        read_episode(tmp_path / "a.mp4", frame_size=128)


def write_npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def test_dmlab_has_frames_and_actions_in_one_file(folder):
    numbers = NUMBERS % 3
    path = write_npz(folder / "w0" / "0.npz", video=tell_tale(numbers), actions=numbers)
    with pytest.raises(RecordingError, match=r"0.npz: nothing says which actions.*dataset.json"):
        read_episode(path)
    state_rules(folder.parent, first_action=0, placeholder=None)
    episode = read_episode(path)
    np.testing.assert_array_equal(episode.action[1:], numbers[1:])
    np.testing.assert_array_equal(episode.image, tell_tale(numbers))
    assert read_episode(path, frame_size=16).image.shape == (FRAMES, 16, 16, 3)
    assert scan(folder).usable == [path]
    assert read_frame_size(path) == 32
    odd = write_npz(folder / "w0" / "1.npz", video=tell_tale(numbers).astype(np.float32), actions=numbers)
    assert "1.npz: video is float32" in scan(folder).unusable[odd]


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[1]",
        '{"first_action": 1}',
        '{"first_action": 1, "action_count": 3, "actions": 3}',
        '{"first_action": 1.5, "action_count": 3}',
        '{"first_action": 1, "action_count": 0}',
        '{"first_action": 0, "action_count": 3, "placeholder": 0}',
        '{"first_action": 1, "action_count": 3, "frame_skip": 0}',
        '{"first_action": 1, "action_count": 3, "frame_skip": true}',
        '{"first_action": 1, "action_count": 3, "mixed_actions": "last"}',
        '{"first_action": 1, "action_count": 3, "frame_skip": 9, "mixed_actions": "combine"}',
    ],
)
def test_rules_that_are_none_are_refused(path, folder, text):
    (folder.parent / "dataset.json").write_text(text)
    with pytest.raises(RecordingError, match=r"minecraft/dataset.json: states no rules"):
        read_episode(path)


def test_episodes_of_different_folders_have_different_names(path, folder):
    from wmgym.other_layouts import episode_name

    write(folder / "w1" / "000000.mp4", tell_tale(NUMBERS), NUMBERS)
    assert [episode_name(found) for found in scan(folder).usable] == ["w0-000000", "w1-000000"]


def test_digests_tell_videos_actions_and_rules_apart(path, folder):
    digests = [content_digest(path)]
    state_rules(folder.parent, frame_skip=HELD)
    digests.append(content_digest(path))
    np.savez(path.with_suffix(".npz"), actions=np.minimum(NUMBERS, 1))
    digests.append(content_digest(path))
    write(path, tell_tale(NUMBERS[::-1]), np.minimum(NUMBERS, 1))
    digests.append(content_digest(path))
    assert len(set(digests)) == 4
    assert content_digest(path) == digests[-1]


def test_our_own_files_are_only_taken_from_the_folder_itself(tmp_path, walk):
    for name in ("a.npz", "train/b.npz", "validation/c.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_episode(tmp_path / name, walk)
    assert scan(tmp_path).usable == [tmp_path / "a.npz"]
    assert scan(tmp_path).unusable == {}


def test_reading_on_and_on_takes_no_more_memory(tmp_path, walk):
    """Far more frames than the bound would hold: 200 episodes of half a megabyte."""
    from wmgym.encoding import sound_episodes

    write_video_episode(tmp_path / "a.mp4", walk, VideoRules())
    folder = tmp_path / "many" / "w0"
    folder.mkdir(parents=True)
    for i in range(200):
        for suffix in (".mp4", ".npz"):
            (folder / f"{i:06d}{suffix}").symlink_to(tmp_path / f"a{suffix}")
    found = scan(folder.parent)
    assert (len(found.usable), found.unusable) == (200, {})
    taken = 0
    for i, (_, episode) in enumerate(sound_episodes(found.usable)):
        taken += episode.image.nbytes
        if i == 20:
            before = resident_bytes()
    grown = resident_bytes() - before
    assert taken > 90 << 20
    assert grown < 15 << 20


def test_without_pyav_it_is_said_how_to_get_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert scan(path.parent.parent).usable == [path]
    with pytest.raises(DependencyError, match=r"pip install 'wmgym\[video-data\]'"):
        read_episode(path)


@pytest.mark.parametrize(
    ("image", "rules", "named"),
    [
        ((3, 32, 32, 3), VideoRules(action_count=4), "an episode of 3 actions"),
        ((3, 32, 32, 3), VideoRules(frame_skip=2), "a frame_skip of 2"),
        ((3, 31, 32, 3), VideoRules(), "frames of 31x32"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, image, rules, named):
    episode = Episode(np.zeros(image, np.uint8), np.zeros(3, np.int64), np.zeros(3, np.float32), action_count=3)
    with pytest.raises(ValueError, match=named):
        write_video_episode(tmp_path / "a.mp4", episode, rules)
    assert list(tmp_path.iterdir()) == []
