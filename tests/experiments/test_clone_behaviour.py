"""The script of behaviour cloning: what it leaves, what is not made again, and that mistakes are named."""

import importlib.util
import json
from dataclasses import replace

import pytest

from agents.run_lock import FolderInUseError, only_run_in
from experiments import clone_behaviour, dream_ppo
from experiments.clone_behaviour import CLONING_FILE, Args, main
from tests.wmgym.maze_walks import write_walks
from wmgym.checkpoint import fingerprint
from wmgym.errors import RecordingError

needs_maze = pytest.mark.skipif(importlib.util.find_spec("dm_control") is None, reason="needs the maze extra")


@pytest.fixture
def args(micro_folder, tmp_path):
    train = write_walks(tmp_path / "train", range(4), frames=30)
    validation = write_walks(tmp_path / "validation", range(1_000_000, 1_000_002), frames=30)
    return Args(
        recordings=(train,), validation=validation, output=tmp_path / "run", checkpoint=str(micro_folder), epochs=2,
        hidden=16, steps=8, dream_episodes=2, real_episodes=0, workers=1,
    )  # fmt: skip


@pytest.mark.parametrize(("observation", "recurrent"), [("latent", True), ("features", False)])
def test_a_short_run_leaves_policies_and_a_result(args, observation, recurrent):
    args = replace(args, observation=observation, recurrent=recurrent)
    metrics = main(args)["metrics"]
    assert [point["epoch"] for point in metrics["cloning"]] == [1, 2]
    assert all(0 <= point["accuracy"] <= 1 and point["loss"] > 0 for point in metrics["cloning"])
    assert [row["name"] for row in metrics["policies"]] == ["random policy with bursts", "clone of explorer"]
    assert all(row["imagined"]["episodes"] == 2 for row in metrics["policies"])
    assert metrics["frames"] == 4 * 30
    assert metrics["mirrored"]
    assert sum(metrics["teachers_actions"]) == pytest.approx(1)
    assert {path.name for path in (args.output / "stages").iterdir()} == {"epoch-1.zip", "epoch-2.zip"}
    assert (args.output / "policy.zip").stat().st_size > 0
    written = json.loads((args.output / "result.json").read_text())
    assert written["config"]["teacher"] == "explorer"
    assert written["config"]["recordings"] == ["train"]
    assert str(args.output.parent) not in json.dumps(written)
    watched = {path: path.stat().st_mtime_ns for path in (args.output / "watched").rglob("*.npy")}
    assert len(watched) == 4 + 4 + 2
    again = main(replace(args, evaluate=True, recordings=(), validation=None, epochs=9, seed=5))
    assert again["metrics"]["policies"] == metrics["policies"]
    assert again["metrics"]["cloning"] == metrics["cloning"]
    assert again["config"]["validation"] == written["config"]["validation"]
    with pytest.raises(ValueError, match=r"says nothing of .*horizon.*another one trained this policy"):
        dream_ppo.main(replace(dream_ppo.PRESETS["tiny"], evaluate=args.output, checkpoint=args.checkpoint))
    main(replace(args, epochs=1))
    assert {path.name for path in (args.output / "stages").iterdir()} == {"epoch-1.zip"}
    assert {path: path.stat().st_mtime_ns for path in (args.output / "watched").rglob("*.npy")} == watched


@pytest.mark.parametrize("observation", ["latent", "features"])
def test_a_clone_on_latents_is_judged_in_dreams_of_any_model_with_its_tokenizer(
    observation, args, relative, monkeypatch
):
    """One on features is not: each model has its own."""
    args = replace(args, observation=observation)
    main(args)
    dreamed, make = [], clone_behaviour.make_dreams
    monkeypatch.setattr(clone_behaviour, "make_dreams", lambda own: dreamed.append(own.checkpoint) or make(own))
    judged = replace(args, evaluate=True, checkpoint=relative)
    if observation == "features":
        with pytest.raises(ValueError, match="another world model"):
            main(judged)
        return
    config = main(judged)["config"]
    assert config["world_model"] == fingerprint(relative)
    assert config["learned_with"] == fingerprint(args.checkpoint)
    assert set(dreamed) == {relative}


@pytest.mark.parametrize("damage", [None, "", "[]", '{"frames": 3'])
def test_a_cloning_without_its_record_is_refused_before_it_is_judged_again(damage, args, monkeypatch):
    main(replace(args, epochs=1))
    if damage is None:
        (args.output / CLONING_FILE).unlink()
    else:
        (args.output / CLONING_FILE).write_text(damage)
    monkeypatch.setattr("experiments.clone_behaviour.measure", lambda *_, **__: pytest.fail("was judged"))
    with pytest.raises(ValueError, match=rf"{CLONING_FILE}: cannot be read .* Clone again\."):
        main(replace(args, evaluate=True))


@needs_maze
def test_the_clone_is_judged_in_the_real_maze(args):
    metrics = main(replace(args, epochs=1, real_episodes=1))["metrics"]
    assert all(row["real"]["episodes"] == 1 and row["real"]["steps"] == 8 for row in metrics["policies"])


def test_a_folder_in_which_a_run_goes_on_is_left_alone(args):
    with only_run_in(args.output), pytest.raises(FolderInUseError, match=f"{args.output} given to write into"):
        main(args)
    assert [path.name for path in args.output.iterdir()] == [".lock"]


def test_mistakes_are_named(args, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "other").mkdir()
    with pytest.raises(RecordingError, match=r"no episode in .*empty, expected some"):
        main(replace(args, recordings=(empty,)))
    with pytest.raises(RecordingError, match=r"2 episodes in .*validation have training seeds, such as 8"):
        main(replace(args, validation=write_walks(tmp_path / "other" / "validation", range(8, 10), frames=30)))
    longer = write_walks(tmp_path / "longer", range(3), frames=31)
    with pytest.raises(
        RecordingError,
        match=r"^train episodes of several.*: .* have 30 frames \(.*\), 3 have 31 frames \(such as .*longer",
    ):
        main(replace(args, recordings=(*args.recordings, longer)))
    with pytest.raises(FileNotFoundError, match=r"there is no training\.json"):
        main(replace(args, evaluate=True))
    with pytest.raises(ValueError, match="--steps 1001 given, expected 1 to 1000"):
        main(replace(args, steps=1001))
    for missing in ({"recordings": ()}, {"validation": None}):
        with pytest.raises(ValueError, match=r"no --recordings or no --validation given, .*--walkers explorer"):
            main(replace(args, **missing))
    with pytest.raises(ValueError, match="--seed -1 given, expected 0 to 4294967295"):
        main(replace(args, seed=-1))
    with pytest.raises(ValueError, match="--epochs 0 given"):
        main(replace(args, epochs=0))


def test_other_worlds_than_mazes_are_refused_before_anything_is_read(args, toy_folder):
    for changes in ({}, {"evaluate": True}):
        with pytest.raises(ValueError, match=r"^cloning given with a checkpoint of .*Toy-v0.*Fix: dream_ppo\.py"):
            main(replace(args, recordings=(), checkpoint=str(toy_folder), **changes))
    assert not args.output.exists()
