"""`make checkpoint`: every command that it would run is one that the scripts take."""

import pytest

from tests.experiments.dry_runs import commands_in, dry_run


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "maze"


def commands_of(folder, *settings):
    return commands_in(dry_run("checkpoint", f"FOLDER={folder}", *settings).stdout)


def test_all_is_recorded_trained_and_measured_on_mazes_of_its_own(folder):
    found = commands_of(
        folder, "EPISODES=7", "HELD_OUT=3", "PRESET=micro", "TOKENIZER_MINUTES=2", "MINUTES=9", "PRECISION=bf16-mixed",
        "DEVICES=2", "TRAIN_ARGS=--seed 5", "EVALUATE_ARGS=--episodes 2",
    )  # fmt: skip
    recorded = {args.output: (args.split, args.episodes) for args in found["collect_episodes"]}
    assert recorded == {
        folder / "train": ("train", 7), folder / "validation": ("validation", 3), folder / "test": ("test", 3)
    }  # fmt: skip
    (tokenizer,), (world,), (scores,) = (
        found[name] for name in ("train_tokenizer", "train_world_model", "evaluate_world_model")
    )
    for run in (tokenizer, world, scores):
        run.check()
    for run in (tokenizer, world):
        assert (run.recordings, run.validation) == (folder / "train", folder / "validation")
        assert (run.preset, run.precision, run.devices) == ("micro", "bf16-mixed", 2)
    assert (tokenizer.minutes, world.minutes, world.seed) == (2, 9, 5)
    assert (world.tokenizer, world.start_from) == (tokenizer.output, None)
    assert (scores.checkpoint, scores.recordings) == (world.output / "checkpoint", folder / "test")
    assert scores.episodes == 2
    assert len({tokenizer.output, world.output, scores.output, *recorded}) == 6


def test_weights_that_are_there_bring_their_tokenizer(folder, tmp_path):
    start = tmp_path / "weights"
    start.mkdir()
    found = commands_of(folder, f"START_FROM={start}")
    assert not found["train_tokenizer"]
    (world,) = found["train_world_model"]
    world.check()
    assert (world.start_from, world.tokenizer) == (start, start)
    assert len(found["collect_episodes"]) == 3
    assert [scores.checkpoint for scores in found["evaluate_world_model"]] == [world.output / "checkpoint"]


@pytest.mark.parametrize("start", [False, True])
def test_with_more_minutes_only_the_world_model_trains_on_and_is_measured_again(start, folder, tmp_path):
    settings = [f"START_FROM={tmp_path}"] if start else []
    (first,) = commands_of(folder, *settings)["train_world_model"]
    folder.mkdir()
    for name in ("data.complete",) if start else ("data.complete", "tokenizer.complete"):
        (folder / name).touch()
    found = commands_of(folder, *settings, "MINUTES=7000")
    assert {name: len(runs) for name, runs in found.items()} == {"train_world_model": 1, "evaluate_world_model": 1}
    (longer,) = found["train_world_model"]
    longer.check()
    assert (first.minutes, longer.minutes) == (600, 7000)
    first.minutes = longer.minutes
    assert first == longer


@pytest.mark.parametrize("settings", [(), ("START_FROM=weights",)])
def test_each_step_waits_for_what_it_needs(settings, folder):
    lines = dry_run("checkpoint", f"FOLDER={folder}", "-j8", *settings).stdout.splitlines()
    names = ("collect_episodes", "train_tokenizer", "train_world_model", "evaluate_world_model")
    ran = [name for line in lines for name in names if f"/{name}.py" in line]
    assert ran == ["collect_episodes"] * 3 + ["train_tokenizer"] * (not settings) + list(names[2:])


def test_it_is_taught_by_walks_of_an_explorer_if_asked_and_then_that_one_is_measured(folder):
    asked = ("TEACH_MINUTES=5", "WALKS=9", "HELD_OUT=3", "TEACH_ARGS=--stretch 50", "PRECISION=bf16-mixed")
    found = commands_of(folder, *asked)
    walks = {args.output: args for args in found["collect_episodes"] if args.walkers == "explorer"}
    assert {place: (args.split, args.episodes) for place, args in walks.items()} == {
        folder / "explorer": ("train", 9), folder / "explorer_validation": ("validation", 3)
    }  # fmt: skip
    (world,), (taught,), (scores,) = (
        found[name] for name in ("train_world_model", "teach_world_model", "evaluate_world_model")
    )
    taught.check()
    assert (taught.recordings, taught.validation) == ((folder / "explorer",), folder / "explorer_validation")
    assert (taught.checkpoint, taught.minutes, taught.stretch) == (str(world.output / "checkpoint"), 5, 50)
    assert (taught.precision, taught.anew) == ("bf16-mixed", True)
    assert scores.checkpoint == taught.output / "checkpoint"
    plain = commands_of(folder)
    assert not plain["teach_world_model"]
    assert plain["evaluate_world_model"][0].output != scores.output
