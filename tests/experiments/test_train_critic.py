"""The script that trains critics: what it leaves, what is not made again, and that mistakes are named."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from agents.critic_folder import load_critic
from agents.run_lock import FolderInUseError, only_run_in
from experiments.train_critic import Args, main
from tests.wmgym.image_worlds import ACTIONS, TOY
from tests.wmgym.maze_walks import walk
from wmgym.checkpoint import fingerprint
from wmgym.errors import RecordingError
from wmgym.recorded_world import WORLD_FILE, RecordedWorld
from wmgym.recording import write_episode


def write(folder, seeds, frames=30, rewards=0.2):
    """A new folder of episodes of noise, with a bright frame before each reward."""
    folder.mkdir()
    for seed in seeds:
        episode = walk(seed, frames=frames)
        reward = (np.random.default_rng(seed).random(frames) < rewards).astype(np.float32)
        reward[0] = 0
        image = episode.image // 2
        image[:-1][reward[1:] > 0] += 128
        write_episode(folder / f"{seed}.npz", replace(episode, reward=reward, image=image))
    return folder


@pytest.fixture
def args(micro_folder, tmp_path):
    return Args(
        recordings=(write(tmp_path / "train", range(6)),),
        validation=write(tmp_path / "validation", range(1_000_000, 1_000_003)),
        output=tmp_path / "run", checkpoint=str(micro_folder), discount=0.3, epochs=30, hidden=16, dropout=0.0,
        learning_rate=1e-2, dream_steps=3,
    )  # fmt: skip


@pytest.mark.parametrize(("observation", "dream_steps"), [("features", 3), ("latent", 0)])
def test_a_run_leaves_a_critic_that_knows_what_comes(args, observation, dream_steps, capsys):
    """Not of dreams of random weights: there is nothing to be known from."""
    args = replace(args, observation=observation, dream_steps=dream_steps)
    kinds = ["observed", "dreamed"] if dream_steps else ["observed"]
    result = main(args)
    metrics = result["metrics"]
    assert json.loads((args.output / "result.json").read_text()) == result
    assert str(args.output.parent) not in json.dumps(result)
    if observation == "latent":  # the frame before a reward is brighter, in mazes never seen
        assert metrics["explained_variance"]["observed"] > 0.3
    assert len(metrics["curve"]) == 30
    assert list(metrics["explained_variance"]) == kinds
    assert metrics["frames"] == 6 * 2 * len(kinds) * (30 - 3)
    assert f"from {kinds[-1]} frames" in capsys.readouterr().out
    critic, known = load_critic(args.output, fingerprint(args.checkpoint))
    assert (known["observation"], known["discount"]) == (observation, 0.3)
    assert critic.settings.hidden == 16
    watched = {path: path.stat().st_mtime_ns for path in (args.output / "watched").rglob("*.npy")}
    assert len(watched) == (6 * 2 + 3) * len(kinds)
    again = main(args)
    assert again["metrics"] == metrics
    assert {path: path.stat().st_mtime_ns for path in (args.output / "watched").rglob("*.npy")} == watched


def test_a_folder_in_which_a_run_goes_on_is_left_alone(args):
    with only_run_in(args.output), pytest.raises(FolderInUseError, match=f"{args.output} given to write into"):
        main(args)
    assert [path.name for path in args.output.iterdir()] == [".lock"]


def test_mistakes_are_named_before_anything_is_watched(args, tmp_path):
    (tmp_path / "empty").mkdir()
    longer = write(tmp_path / "longer", range(2), frames=31)
    for changes, message in (
        ({"recordings": (tmp_path / "empty",)}, r"no episode in .*empty, expected some"),
        (
            {"recordings": (*args.recordings, longer)},
            r"^train episodes of several lengths given: 6 have 30 frames \(.*\), 2 have 31 frames \(such as .*longer",
        ),
        (
            {"recordings": (write(tmp_path / "poor", range(2), rewards=0),)},
            r"no reward in 2 episodes.*--walkers explorer",
        ),
        ({"validation": args.recordings[0]}, r"6 episodes in .*train have training seeds, such as 0"),
        ({"validation": tmp_path / "none"}, r"no such folder"),
    ):
        with pytest.raises(RecordingError, match=message):
            main(replace(args, **changes))
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    episode = replace(walk(0, frames=30), action_space=ACTIONS["pairs"], reward=np.ones(30, np.float32), state={})
    write_episode(pairs / "0.npz", episode)
    for folders in ((pairs,), (*args.recordings, pairs)):
        message = r"0\.npz: actions of MultiDiscrete\(.*\) given to be mirrored, expected Discrete\(6\).*--no-mirror"
        with pytest.raises(RecordingError, match=message):
            main(replace(args, recordings=folders))
    for changes, message in (
        ({"discount": 0.97}, r"episodes of 30 frames and discount = 0\.97 given"),
        ({"epochs": 0}, "--epochs 0 given"),
    ):
        with pytest.raises(ValueError, match=message):
            main(replace(args, **changes))
    assert not args.output.exists()


def test_another_world_than_mazes_has_no_mirror(args, tmp_path):
    """Whatever its actions are; mazes of all sizes have the same."""
    folder, told = tmp_path / "world", tmp_path / "world" / WORLD_FILE
    shutil.copytree(args.checkpoint, folder)
    told.write_text(json.dumps(RecordedWorld(TOY, ACTIONS["six"], 9, {"actions": "six"}).to_json()))
    args = replace(args, checkpoint=str(folder), epochs=1, dream_steps=0)
    message = r"--mirror given with a checkpoint of .*Toy-v0, expected .*wmgym/MemoryMaze-: .* Fix: --no-mirror"
    with pytest.raises(ValueError, match=message):
        main(args)
    assert not args.output.exists()
    assert main(replace(args, mirror=False))["metrics"]["frames"] == 6 * (30 - 3)
    told.write_text(json.dumps(RecordedWorld("wmgym/MemoryMaze-11x11-v0", ACTIONS["six"], 2000).to_json()))
    assert main(args)["metrics"]["frames"] == 6 * 2 * (30 - 3)
