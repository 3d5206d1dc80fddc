"""Videos with actions, in TECO's layout: what belongs to what is read off the frames themselves."""

import av
import gymnasium
import numpy as np
import pytest

from tests.wmgym.teco_videos import FRAMES, HELD, NUMBERS, read_off, state_rules, tell_tale, write
from wmgym.action_spaces import from_model
from wmgym.codec import psnr
from wmgym.errors import RecordingError
from wmgym.mp4_table import read_mp4_table
from wmgym.recording import content_digest, read_episode, read_frame_size, read_state, read_summary, scan, write_episode
from wmgym.video_rules import VideoRules
from wmgym.video_writing import write_video_episode


def test_what_is_written_is_read_back_but_for_the_video_s_loss(tmp_path, texture_walk):
    errors = []
    for quality in (1, 8):
        write_video_episode(tmp_path / f"{quality}.mp4", texture_walk, VideoRules(), quality)
        again = read_episode(tmp_path / f"{quality}.mp4")
        np.testing.assert_array_equal(again.action, texture_walk.action)
        assert (again.action_count, again.action_space) == (3, gymnasium.spaces.Discrete(3, start=1))
        assert (again.seed, again.policy, again.state, again.terminated) == (None, None, {}, False)
        np.testing.assert_array_equal(again.reward, np.zeros(41, np.float32))
        errors.append(psnr(texture_walk.image, again.image).min())
    assert errors[0] > 25 > errors[0] - errors[1] > 1  # textures of single pixels, colours of every second one
    with np.load(tmp_path / "1.npz") as archive:
        assert (archive.files, archive["actions"].dtype, archive["actions"][0]) == (["actions"], np.int32, 0)


def test_published_files_are_read_in_place(teco_video, teco_folder):
    episode = read_episode(teco_video)
    np.testing.assert_array_equal(episode.action[1:], NUMBERS[1:] - 1)
    np.testing.assert_array_equal(read_off(episode.image)[1:], NUMBERS[1:])
    assert scan(teco_folder).usable == [teco_video]
    assert read_summary(teco_video) == (FRAMES, 0.0, "unknown")
    assert read_frame_size(teco_video) == 32
    assert read_state(teco_video) == ({}, None, None)


@pytest.mark.parametrize(
    ("frames", "numbers", "kept"),
    [
        (slice(None), slice(None), FRAMES),
        (slice(-1), slice(None), FRAMES - 1),  # the last frame is lost: 300 frames, 301 numbers
        (slice(None), slice(-1), FRAMES - 1),  # the last number is lost: 301 frames, 300 numbers
        (slice(None), slice(1, None), FRAMES),  # the placeholder was left out: 301 frames, 300 numbers
    ],
)
def test_each_number_is_that_of_the_frame_it_led_to(teco_folder, frames, numbers, kept):
    path = write(teco_folder / "w0" / "0.mp4", tell_tale(NUMBERS)[frames], NUMBERS[numbers])
    episode = read_episode(path)
    assert len(episode.image) == len(episode.action) == len(episode.reward) == kept == read_summary(path)[0]
    np.testing.assert_array_equal(read_off(episode.image)[1:], episode.action[1:] + 1)


def test_sets_without_a_placeholder_say_so(teco_folder):
    state_rules(teco_folder.parent, placeholder=None, first_action=0)
    numbers = np.arange(FRAMES) % 3
    for name, given in (("as many", numbers), ("one less", numbers[1:])):
        episode = read_episode(write(teco_folder / "w0" / f"{name}.mp4", tell_tale(numbers), given))
        np.testing.assert_array_equal(read_off(episode.image)[1:], episode.action[1:])
    with pytest.raises(RecordingError, match="expected as many, or one more or less"):
        read_episode(write(teco_folder / "w0" / "more.mp4", tell_tale(numbers)[:-1], numbers))


@pytest.mark.parametrize("size", [16, 64])
def test_the_table_of_contents_says_what_the_decoder_finds(teco_folder, size):
    path = write(teco_folder / "w0" / "0.mp4", tell_tale(NUMBERS, size), NUMBERS)
    table = read_mp4_table(path)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert (table.frames, table.height, table.width) == (len(frames), *frames[0].shape[:2])
    np.testing.assert_array_equal(read_episode(path).image, np.stack(frames))


def test_skipping_keeps_every_kth_frame_with_the_action_held_on_the_way(teco_video, teco_folder):
    whole = read_episode(teco_video)
    state_rules(teco_folder.parent, frame_skip=HELD)
    held = read_episode(teco_video)
    np.testing.assert_array_equal(held.image, whole.image[::HELD])
    np.testing.assert_array_equal(held.action[1:], whole.action[1:].reshape(-1, HELD)[:, 0])
    assert held.action_space == gymnasium.spaces.Discrete(3, start=1)
    assert read_summary(teco_video)[0] == 1 + (FRAMES - 1) // HELD


def test_actions_that_are_not_held_are_refused_or_combined_without_loss(teco_video, teco_folder):
    state_rules(teco_folder.parent, frame_skip=2)
    with pytest.raises(RecordingError, match=r"actions \[1, 2\] led from frame 4 to frame 6.*mixed_actions"):
        read_episode(teco_video)
    assert list(scan(teco_folder).unusable) == [teco_video]
    state_rules(teco_folder.parent, frame_skip=2, mixed_actions="combine")
    combined = read_episode(teco_video)
    assert combined.action_count == 9
    np.testing.assert_array_equal(from_model(combined.action_space, combined.action[1:]).ravel(), NUMBERS[1:])
    np.testing.assert_array_equal(read_off(combined.image)[1:], NUMBERS[2::2])


def test_what_remains_after_the_last_kept_frame_is_left_out(teco_video, teco_folder):
    state_rules(
        teco_folder.parent, frame_skip=20, mixed_actions="refuse", action_count=1, first_action=0, placeholder=None
    )
    np.savez(teco_video.with_suffix(".npz"), actions=np.zeros(FRAMES, np.int32))
    assert len(read_episode(teco_video).image) == 2


def test_smaller_frames_are_means_of_areas(tmp_path, texture_walk):
    write_video_episode(tmp_path / "a.mp4", texture_walk, VideoRules())
    whole, half = read_episode(tmp_path / "a.mp4").image, read_episode(tmp_path / "a.mp4", frame_size=32).image
    areas = whole.reshape(-1, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(half - areas).max() <= 1  # rows, then columns, each rounded
    with pytest.raises(RecordingError, match=r"a.mp4: frames of 64x64 pixels asked for in 128x128.*--frame-size"):
        read_episode(tmp_path / "a.mp4", frame_size=128)


def write_npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def test_dmlab_has_frames_and_actions_in_one_file(teco_folder):
    numbers = NUMBERS % 3
    path = write_npz(teco_folder / "w0" / "0.npz", video=tell_tale(numbers), actions=numbers)
    with pytest.raises(RecordingError, match=r"0.npz: nothing says which actions.*dataset.json"):
        read_episode(path)
    state_rules(teco_folder.parent, first_action=0, placeholder=None)
    episode = read_episode(path)
    np.testing.assert_array_equal(episode.action[1:], numbers[1:])
    np.testing.assert_array_equal(episode.image, tell_tale(numbers))
    assert read_episode(path, frame_size=16).image.shape == (FRAMES, 16, 16, 3)
    assert scan(teco_folder).usable == [path]
    assert read_frame_size(path) == 32
    odd = write_npz(teco_folder / "w0" / "1.npz", video=tell_tale(numbers).astype(np.float32), actions=numbers)
    assert "1.npz: video is float32" in scan(teco_folder).unusable[odd]


def test_episodes_of_different_folders_have_different_names(teco_video, teco_folder):
    from wmgym.other_layouts import episode_name

    write(teco_folder / "w1" / "000000.mp4", tell_tale(NUMBERS), NUMBERS)
    assert [episode_name(found) for found in scan(teco_folder).usable] == ["w0-000000", "w1-000000"]


def test_digests_tell_videos_actions_and_rules_apart(teco_video, teco_folder):
    digests = [content_digest(teco_video)]
    state_rules(teco_folder.parent, frame_skip=HELD)
    digests.append(content_digest(teco_video))
    np.savez(teco_video.with_suffix(".npz"), actions=np.minimum(NUMBERS, 1))
    digests.append(content_digest(teco_video))
    write(teco_video, tell_tale(NUMBERS[::-1]), np.minimum(NUMBERS, 1))
    digests.append(content_digest(teco_video))
    assert len(set(digests)) == 4
    assert content_digest(teco_video) == digests[-1]


def test_our_own_files_are_only_taken_from_the_folder_itself(tmp_path, texture_walk):
    for name in ("a.npz", "train/b.npz", "validation/c.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_episode(tmp_path / name, texture_walk)
    assert scan(tmp_path).usable == [tmp_path / "a.npz"]
    assert scan(tmp_path).unusable == {}
