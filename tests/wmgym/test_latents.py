"""A folder of latents: bound to what it was made from, and refused by name when it is damaged."""

import numpy as np
import pytest
import torch

from model.config import PRESETS, LSSVWMConfig
from model.data import append_episodes
from model.tokenizer import Tokenizer
from wmgym.encoding import encode_new, read_starts
from wmgym.errors import CheckpointError, RecordingError
from wmgym.latents import RECORDINGS_FILE, bind_to_recordings, names_in, open_store
from wmgym.recording import Episode, scan, write_episode


def record(folder, *names, seed=None, size=64, brightness=0):
    """Write a short episode for each name."""
    folder.mkdir(exist_ok=True)
    for name in names:
        image = np.full((3, size, size, 3), brightness, np.uint8)
        action, reward = np.array([0, 1, 2]), np.zeros(3, np.float32)
        write_episode(folder / f"{name}.npz", Episode(image, action, reward, action_count=6, seed=seed))


def encode(store, recordings):
    """What a training run does before it trains."""
    store.mkdir(exist_ok=True)
    found = scan(recordings)
    bind_to_recordings(store, found)
    tokenizer = Tokenizer(PRESETS["micro"].tokenizer)
    append_episodes(
        store, encode_new(found, tokenizer, LSSVWMConfig(), names_in(store), 100, lambda files, desc: files)
    )


@pytest.fixture
def recordings(tmp_path):
    record(tmp_path / "recordings", "a", "b")
    return tmp_path / "recordings"


@pytest.fixture
def store(tmp_path, recordings):
    torch.manual_seed(0)
    encode(tmp_path / "latents", recordings)
    return tmp_path / "latents"


def test_recordings_may_join_and_the_others_stay(store, recordings):
    before = (store / "a.latents.npy").stat().st_mtime_ns
    record(recordings, "c")
    encode(store, recordings)
    assert sorted(open_store(store).names) == ["a", "b", "c"]
    assert (store / "a.latents.npy").stat().st_mtime_ns == before


def test_other_recordings_of_the_same_names_are_refused(store, tmp_path):
    record(tmp_path / "others", "a", "b", brightness=9)
    with pytest.raises(RecordingError, match=r"2 of 2 episodes.*a\.npz is another file"):
        encode(store, tmp_path / "others")


def test_recordings_of_other_names_are_refused(store, recordings, tmp_path):
    record(tmp_path / "others", "x", "y")
    with pytest.raises(RecordingError, match=r"2 of 2 episodes.*no usable a\.npz"):
        encode(store, tmp_path / "others")
    (recordings / "b.npz").write_bytes(b"cut")
    with pytest.raises(RecordingError, match=r"1 of 2 episodes.*no usable b\.npz"):
        encode(store, recordings)


def test_a_store_without_a_mark_takes_the_recordings_at_hand_for_its_own(store, recordings, tmp_path):
    (store / RECORDINGS_FILE).unlink()
    encode(store, recordings)
    record(tmp_path / "others", "a", "b", brightness=9)
    with pytest.raises(RecordingError, match="another file"):
        encode(store, tmp_path / "others")


@pytest.mark.parametrize("seed", [1_000_000, 2_999_999])
def test_held_out_mazes_are_not_encoded(tmp_path, seed):
    record(tmp_path / "held_out", "a", seed=seed)
    with pytest.raises(RecordingError, match=rf"a\.npz was recorded with seed {seed}, of split"):
        encode(tmp_path / "latents", tmp_path / "held_out")


@pytest.mark.parametrize("seed", [None, 0, 3_000_000])
def test_other_seeds_are_encoded(tmp_path, seed):
    record(tmp_path / "recordings", "a", seed=seed)
    encode(tmp_path / "latents", tmp_path / "recordings")
    assert open_store(tmp_path / "latents").names == ["a"]


def test_frames_of_another_size_are_refused_by_name(recordings, tmp_path):
    record(recordings, "c", size=32)
    with pytest.raises(RecordingError, match=r"c\.npz has frames of 32x32 pixels, expected 64x64"):
        encode(tmp_path / "latents", recordings)


@pytest.mark.parametrize("name", ["a.latents.npy", "b.steps.npz", "episodes.json", RECORDINGS_FILE])
def test_a_truncated_file_is_named(store, recordings, name):
    whole = (store / name).read_bytes()
    (store / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=name):
        open_store(store) if name != RECORDINGS_FILE else encode(store, recordings)


def test_nothing_encoded_and_nothing_to_start_from_are_said(tmp_path):
    with pytest.raises(RecordingError, match="holds no episode"):
        open_store(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"no episode")
    with pytest.raises(RecordingError, match="none of the first 2 of 1 episodes can be read"):
        read_starts([tmp_path / "a.npz"], 2, 1, 3, 0, lambda files, desc: files)
