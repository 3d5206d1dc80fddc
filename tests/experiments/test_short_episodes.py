"""Episodes of different lengths, very short ones among them, all the way: tokenizer, world model, evaluation."""

import json

import numpy as np
import pytest

from experiments import evaluate_world_model, train_tokenizer, train_world_model
from tests.wmgym.image_worlds import ACTIONS, TOY
from wmgym.arguments import say_short
from wmgym.checkpoint import open_checkpoint
from wmgym.clips import long_enough
from wmgym.encoding import read_starts
from wmgym.errors import ContextError
from wmgym.fidelity import predicted_events
from wmgym.recorded_world import RecordedWorld
from wmgym.recording import Episode, read_episode, write_episode
from wmgym.starts import draw_clip

LENGTHS = (2, 3, 12, 20, 25, 30)


def episode(frames, seed, reward=0.0, blue=0):
    """Frame t is of grey level t, but for its blue; the last one ends the episode, and pays."""
    image = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 64, 64, 3)).copy()
    rewards = np.zeros(frames, np.float32)
    rewards[-1] = reward
    image[..., 2] += np.uint8(blue)
    actions = np.arange(frames) % 6
    return Episode(image, actions, rewards, action_count=6, seed=seed, terminated=True, action_space=ACTIONS["pairs"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("short")
    for i, frames in enumerate(LENGTHS):
        write_episode(made / f"{i}.npz", episode(frames, 5_000_000 + i, reward=1.0, blue=30 * i))
    world = RecordedWorld(TOY, ACTIONS["pairs"], 40, {"actions": "pairs"})
    (made / "collection.json").write_text(json.dumps({"world": world.to_json()}))
    return made


def test_the_whole_chain_copes(folder, tmp_path, capsys):
    tokenizer, output = tmp_path / "tokenizer", tmp_path / "world"
    train_tokenizer.main(
        train_tokenizer.Args(folder, output=tokenizer, validation=folder, preset="micro", minutes=0.01, batch=4)
    )
    train_world_model.main(
        train_world_model.Args(
            folder, validation=folder, tokenizer=tokenizer, output=output, preset="micro", minutes=5.0, steps=3,
            stages=((0.5, 4), (1.0, 16)), frames_per_step=16, context=16, horizon=4, dreamed_frames=2,
        )
    )  # fmt: skip
    told = capsys.readouterr().out
    assert "3 of 6 episodes are shorter than a clip of 20 frames and left out: seed 5000000 (2 frames)" in told
    assert "2 of 6 episodes are shorter than a window of 4 frames" in told
    assert "3 of 6 episodes are shorter than a window of 16 frames and not trained on while" in told
    opened = open_checkpoint(output / "checkpoint")
    assert opened.action_space == ACTIONS["pairs"]
    assert len(opened.first_frames) == 6
    assert len(opened.clips.frames) == 4
    assert opened.clips.frames[:, -1, ..., 0].max() < 29  # no clip ends in the last frame of the longest episode
    args = evaluate_world_model.Args(
        folder, tmp_path / "out", output / "checkpoint", clips_per_episode=1, context=16, horizon=2, long_dream=8,
        long_dreams=2,
    )  # fmt: skip
    metrics = evaluate_world_model.main(args)["metrics"]
    assert (metrics["episodes"], metrics["clips"], metrics["reward_events"]["events"]) == (6, 3, 6)
    assert (metrics["ends"]["events"] if "ends" in metrics else 6) == 6
    assert "real_elsewhere" not in metrics["long_dream"]  # the checkpoint is of another world than the maze


def test_heads_decide_alike_whether_an_episode_is_alone_or_among_longer_ones(micro_folder, folder):
    world = open_checkpoint(micro_folder).world
    episodes = [read_episode(folder / f"{i}.npz") for i in range(6)]
    rewards, ends, there = predicted_events(world, episodes)
    assert there.sum(1).tolist() == list(LENGTHS)
    for row, one in enumerate(episodes):
        alone = predicted_events(world, [one])
        frames = len(one.image)
        np.testing.assert_array_equal(rewards[row, :frames], alone[0][0])
        np.testing.assert_array_equal(ends[row, :frames], alone[1][0])


def test_recall_and_precision_of_ends(micro_folder, monkeypatch):
    """Two episodes end by themselves, at frames 3 and 5; ends are told at 3, 4 and, where no frame is, at 7."""
    episodes = [episode(4, 1, 1.0), episode(6, 2), episode(9, 3)]
    episodes[2] = Episode(**(vars(episodes[2]) | {"terminated": False}))
    ends = np.zeros((3, 9), bool)
    ends[0, [3, 7]], ends[1, 4], ends[2, [0, 1]] = True, True, True
    there = np.arange(9) < np.array([4, 6, 9])[:, None]
    rewards = np.zeros((3, 9), np.float32)
    rewards[0, 3] = rewards[1, 2] = 1
    monkeypatch.setattr(evaluate_world_model, "predicted_events", lambda *_: (rewards, ends, there.copy()))
    found = evaluate_world_model.events(None, episodes)
    assert found["reward_events"] == {"events": 1, "recall": 1, "precision": 0.5}
    expected = {"events": 2, "recall": 0.5, "precision": 1 / 3, "recall_within_2": 1, "precision_within_2": 2 / 3}
    assert found["ends"] == pytest.approx(expected)


def test_no_clip_shows_a_world_that_is_over():
    rng = np.random.default_rng(0)
    ends = {int(draw_clip(episode(12, 1), 8, rng)[0][-1, 0, 0, 0]) for _ in range(200)}
    assert ends == set(range(7, 11))


def test_clips_are_taken_from_episodes_that_are_long_enough(folder):
    files = [folder / f"{i}.npz" for i in range(6)]
    firsts, clips = read_starts(files, 6, 2, 8, 0, lambda files, desc: files)
    assert (len(firsts), len(clips.frames)) == (6, 2)  # the first two files are too short, the next two are not
    assert read_starts(files, 6, 5, 60, 0, lambda files, desc: files)[1] is None


def test_what_is_too_short_is_counted_and_named():
    said = []
    kept = long_enough([episode(n, n) for n in LENGTHS], 20, said.append)
    assert [len(one.image) for one in kept] == [20, 25, 30]
    assert said == [
        "3 of 6 episodes are shorter than a clip of 20 frames and left out: seed 2 (2 frames), seed 3 (3 frames), "
        "seed 12 (12 frames)"
    ]
    with pytest.raises(ContextError, match="too short for clips of 40"):
        long_enough([episode(n, n) for n in LENGTHS], 40, said.append)
    say_short(((0.5, 8), (1.0, 2)), list("abcdefg"), [2, 3, 4, 5, 6, 7, 9], said.append)
    assert said[1:] == [
        "6 of 7 episodes are shorter than a window of 8 frames and not trained on while windows have so many: "
        "a (2), b (3), c (4), d (5), e (6), ..."
    ]
