"""Clips: what is cut, where, and that dreams go on from them."""

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from model.axes import START_ACTION
from wmgym.checkpoint import Checkpoint, open_checkpoint, save_starts
from wmgym.env import DreamEnv
from wmgym.errors import CheckpointError
from wmgym.recording import Episode
from wmgym.starts import STEPS_BEFORE_REWARD, Clips, draw_clip
from wmgym.vector_env import DreamVectorEnv


def numbered_episode(frames, rewarded=()):
    """Frame t is full of t, and the action that led to it is t modulo 6."""
    image = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 64, 64, 3))
    reward = np.isin(np.arange(frames), rewarded).astype(np.float32)
    return Episode(image, np.arange(frames) % 6, reward, action_count=6)


def test_a_clip_ends_shortly_before_a_reward():
    rng, ends = np.random.default_rng(0), set()
    for _ in range(300):
        frames, actions = draw_clip(numbered_episode(100, rewarded=(3, 50, 90)), 8, rng)
        numbers = frames[:, 0, 0, 0].astype(int)
        assert (np.diff(numbers) == 1).all()
        assert (actions == numbers % 6).all()
        ends.add(int(numbers[-1]))
    before = set(range(50 - STEPS_BEFORE_REWARD, 50)) | set(range(90 - STEPS_BEFORE_REWARD, 90))
    assert ends == before  # the reward at 3 leaves no room for a whole clip


def test_a_clip_of_an_episode_without_rewards_is_cut_anywhere():
    rng = np.random.default_rng(0)
    ends = {int(draw_clip(numbered_episode(12), 8, rng)[0][-1, 0, 0, 0]) for _ in range(200)}
    assert ends == set(range(7, 12))


def test_a_dream_starts_from_a_clip_as_from_the_same_context(micro):
    contexts = micro.clips.contexts()
    assert all(context.actions[0] == START_ACTION for context in contexts)
    env = DreamEnv(checkpoint=micro, observation="features", starts="clips")
    expected = [
        env.reset(options={"context": {"frames": c.frames, "actions": np.maximum(c.actions, 0)}})[0] for c in contexts
    ]
    found = set()
    for seed in range(25):
        shown, _ = env.reset(seed=seed)
        distances = np.abs(np.array(expected) - shown).max(1)
        assert distances.min() < 1e-5
        found.add(int(distances.argmin()))
    assert found == set(range(len(contexts)))


def test_dreams_that_end_start_from_clips_again(micro):
    env = DreamVectorEnv(3, checkpoint=micro, observation="pixels", starts="clips", max_episode_steps=2)
    first, _ = env.reset(seed=0)
    again = [env.step(np.zeros(3, np.int64))[0] for _ in range(2)][-1]
    shown = DreamVectorEnv(1, checkpoint=micro, observation="pixels")
    rebuilt = [
        shown.reset(options={"context": {"frames": c.frames, "actions": np.maximum(c.actions, 0)}})[0][0]
        for c in micro.clips.contexts()
    ]
    for frame in (*first, *again):
        assert min(np.abs(frame.astype(int) - clip).max() for clip in rebuilt) <= 1


def test_an_unknown_kind_of_start_is_named(micro):
    with pytest.raises(ValueError, match="starts = 'middle', expected one of"):
        DreamEnv(checkpoint=micro, starts="middle")


def test_a_checkpoint_without_clips_says_so(micro):
    bare = Checkpoint(micro.world, micro.first_frames)
    with pytest.raises(CheckpointError, match="has none"):
        DreamEnv(checkpoint=bare, starts="clips")


def test_saved_clips_come_back(micro_folder, tmp_path, micro):
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((micro_folder / file).read_bytes())
    clips = Clips(
        np.random.default_rng(1).integers(0, 256, (2, 4, 64, 64, 3), np.uint8), np.arange(8).reshape(2, 4) % 6
    )
    save_starts(tmp_path, micro.first_frames, clips)
    opened = open_checkpoint(tmp_path).clips
    np.testing.assert_array_equal(opened.frames, clips.frames)
    np.testing.assert_array_equal(opened.actions, clips.actions)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("clips.actions", lambda v: v + 6, "expected 0 to 5"),
        ("clips.actions", lambda v: v[:, 1:], "Most likely they belong to another model"),
        ("clips.frames", lambda v: v.float(), "Most likely they belong to another model"),
        ("clips.frames", lambda v: v[:, :, ::2], "Most likely they belong to another model"),
        ("clips.frames", lambda v: v[:0], "Most likely they belong to another model"),
    ],
    ids=["action", "fewer actions", "float", "small", "none"],
)
def test_clips_that_do_not_fit(key, change, message, micro_folder, tmp_path):
    for file in micro_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "contexts.safetensors")
    tensors[key] = change(tensors[key]).contiguous()
    save_file(tensors, tmp_path / "contexts.safetensors")
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)
