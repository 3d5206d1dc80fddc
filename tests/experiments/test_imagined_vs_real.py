"""The script that runs many policies in both worlds: what it leaves, what it does not measure again, mistakes."""

import importlib.util
import json
import math
import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from agents.results import write_json
from agents.run_lock import FolderInUseError, only_run_in
from agents.sb3 import make_ppo
from agents.time_budget import TrainingProgress
from agents.training_folder import save_training
from experiments import clone_behaviour, dream_ppo, imagined_vs_real
from experiments.imagined_vs_real import Args, decides, main, prepared
from model.world_model import WorldModel
from tests.wmgym.maze_walks import write_walks
from wmgym.checkpoint import open_checkpoint, save_starts
from wmgym.errors import RecordingError
from wmgym.recording import SEED_RANGES, record_episode, write_episode
from wmgym.watched_mazes import watched_maze

pytestmark = pytest.mark.skipif(importlib.util.find_spec("memory_maze") is None, reason="memory-maze is not installed")
MEASURES = ("pearson_r", "spearman", "mmrv", "mae", "bias", "regret_at_1")


@pytest.fixture(scope="module")
def checkpoint(micro_folder, tmp_path_factory):
    """A world model of random weights whose dreams pay now and then."""
    world = WorldModel.from_pretrained(micro_folder)
    generator = torch.Generator().manual_seed(0)
    last = world.dynamics.heads.reward[-1]
    with torch.no_grad():
        last.weight.copy_(3 * torch.randn(last.weight.shape, generator=generator))
        last.bias[0] -= math.log(10)
    folder = tmp_path_factory.mktemp("checkpoints") / "paying"
    world.save_pretrained(folder)
    save_starts(folder, open_checkpoint(micro_folder).first_frames)
    return str(folder)


@pytest.fixture(scope="module")
def trained(checkpoint, tmp_path_factory):
    """The folder of a clone that was trained for a moment."""
    folder = tmp_path_factory.mktemp("trained")
    walks = [write_walks(folder / name, range(first, first + 2), frames=20) for name, first in (("a", 0), ("b", 10**6))]
    clone_behaviour.main(
        clone_behaviour.Args(
            recordings=(walks[0],), validation=walks[1], output=folder / "clone", checkpoint=checkpoint, epochs=2,
            hidden=8, steps=2, dream_episodes=1, real_episodes=0, workers=1,
        )
    )  # fmt: skip
    return folder / "clone"


@pytest.fixture(scope="module")
def finished(trained, checkpoint, tmp_path_factory):
    """Arguments and result of a run of four policies; the last stage is no other than the clone."""
    stages = sorted(map(str, (trained / "stages").glob("*.zip")))
    args = Args(
        policies=("random", "sticky", str(trained), *stages), output=tmp_path_factory.mktemp("runs") / "report",
        checkpoint=checkpoint, steps=6, horizons=(2, 4, 1000), dream_episodes=3, real_episodes=1, workers=1,
    )  # fmt: skip
    return args, main(args)


@pytest.fixture
def measured(monkeypatch):
    """What is measured, and not taken from what is kept."""
    told, original = [], imagined_vs_real.measure

    def watch(name, make_policy, worlds, **settings):
        told.extend((name, world) for world in worlds)
        if len(told) == watch.interrupted_at:
            raise KeyboardInterrupt
        return original(name, make_policy, worlds, **settings)

    watch.interrupted_at, watch.told = 0, told
    monkeypatch.setattr(imagined_vs_real, "measure", watch)
    return watch


def numbers(values):
    if isinstance(values, dict | list):
        for each in values.values() if isinstance(values, dict) else values:
            yield from numbers(each)
    elif isinstance(values, int | float):
        yield values


def test_a_run_leaves_what_it_promises(finished, trained):
    args, result = finished
    assert json.loads((args.output / "result.json").read_text()) == result
    assert set(result) == {"experiment", "config", "seed", "versions", "commit", "minutes", "metrics"}
    assert result["experiment"] == "imagined_vs_real"
    assert str(args.output) not in json.dumps(result)
    assert str(trained) not in json.dumps(result)
    metrics = result["metrics"]
    assert all(math.isfinite(number) for number in numbers(metrics))
    assert [row["name"] for row in metrics["policies"]] == ["random", "sticky", "clone", "clone/epoch-1"]
    for row in metrics["policies"]:
        assert (row["imagined"]["episodes"], row["imagined"]["steps"]) == (3, 6)
        assert (row["real"]["episodes"], row["real"]["steps"]) == (1, 6)
    assert all(name in metrics for name in MEASURES)
    assert [row["steps"] for row in metrics["gap_by_horizon"]] == [2, 4, 6]
    returns = metrics["episode_returns"]["sticky"]["imagined"]
    until = [row["policies"][1]["imagined"] for row in metrics["gap_by_horizon"]]
    assert 0 < until[0] < until[-1] == pytest.approx(sum(returns) / 3)
    assert [each["name"] for each in result["config"]["policies"]] == [row["name"] for row in metrics["policies"]]
    assert "weights" in result["config"]["policies"][2]
    with Image.open(args.output / "imagined_vs_real.png") as picture:
        assert picture.size[0] > 1000
    assert len(list((args.output / "policies").iterdir())) == 4 * 2
    assert not list(args.output.rglob("*partial*"))


def test_what_is_measured_is_not_measured_again(finished, measured, capsys):
    args, result = finished
    again = main(args)
    assert measured.told == []
    assert again["metrics"] == result["metrics"]
    printed = capsys.readouterr().out
    assert "8 of 8 measurements" in printed
    assert "it is the same policy as" in printed  # the last stage and the clone
    assert "4 policies: a report to rely on has 10 or more" in printed
    assert "Spearman rank correlation" in printed


def test_a_policy_that_is_added_is_all_that_is_measured(finished, measured, tmp_path):
    args, result = finished
    shutil.copytree(args.output, tmp_path / "grown")
    metrics = main(replace(args, output=tmp_path / "grown", policies=args.policies[:3], blend=(0.5,)))["metrics"]
    assert measured.told == [("4/4 clone@0.5", "imagined"), ("4/4 clone@0.5", "real")]
    assert metrics["policies"][:3] == result["metrics"]["policies"][:3]


def test_an_interrupted_run_says_what_is_kept_and_goes_on(finished, measured, tmp_path, capsys):
    args, result = finished
    shutil.copytree(args.output / "policies", tmp_path / "new" / "policies")
    for path in [*(tmp_path / "new").rglob("clone-*"), *(tmp_path / "new").rglob("sticky-real-*")]:
        path.unlink()
    args = replace(args, output=tmp_path / "new", policies=args.policies[:3])
    measured.interrupted_at = 2
    with pytest.raises(SystemExit):
        main(args)
    assert "Interrupted: 4 of 6 measurements are kept" in capsys.readouterr().out
    assert not (tmp_path / "new" / "result.json").exists()
    measured.interrupted_at, measured.told[:] = 0, []
    metrics = main(args)["metrics"]
    assert measured.told == [("3/3 clone", "imagined"), ("3/3 clone", "real")]
    assert metrics["policies"] == result["metrics"]["policies"][:3]


@pytest.mark.parametrize(
    ("changes", "again"),
    [({"real_episodes": 5}, "random real, clone real"), ({"dream_episodes": 5}, "random imagined, clone imagined"),
     ({"denoising_steps": 2}, "random imagined, clone imagined"), ({"bursts": 0.5}, "clone imagined, clone real"),
     ({"precision": "bfloat16"}, "random imagined, clone imagined, clone real"), ({"workers": 3}, ""),
     ({"horizons": (5,)}, ""), *(({name: value}, "random imagined, random real, clone imagined, clone real") for name,
     value in (("steps", 7), ("seed", 1), ("mazes", "validation")))],
)  # fmt: skip
def test_what_is_measured_again_is_what_changed(changes, again, finished):
    args, _ = finished
    args = replace(args, policies=("random", "sticky", args.policies[2]))

    def settings(args):
        found, moments = imagined_vs_real.prepared(args)
        policies = {policy.name: policy for policy in found}
        return {
            f"{name} {world}": decides(args, policies[name], world, moments)
            for name in ("random", "clone")
            for world in ("imagined", "real")
        }

    before, after = settings(args), settings(replace(args, **changes))
    assert ", ".join(sorted(key for key in before if before[key] != after[key])) == ", ".join(
        sorted(filter(None, again.split(", ")))
    )


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """Four short walks in held-out real mazes, each paid at its 6th step, if only on paper."""
    folder = tmp_path_factory.mktemp("walks")
    maze = watched_maze(20, observation="pixels")
    for seed in range(10**6, 10**6 + 4):
        episode = record_episode(maze, lambda *_: 4, seed=seed, policy_name="left", max_steps=10)
        episode = replace(episode, reward=(np.arange(11) == 6).astype(np.float32))
        write_episode(folder / f"seed-{seed}.npz", episode)
    return folder


def test_both_worlds_go_on_from_the_same_moments(finished, walks, tmp_path):
    args, _ = finished
    args = replace(
        args, policies=("random", "sticky", args.policies[2]), output=tmp_path / "moments", starts=walks, context=3,
        lead=2, steps=4, horizons=(2,), dream_episodes=4, real_episodes=3,
    )  # fmt: skip
    result = main(args)
    assert [row["real"]["steps"] for row in result["metrics"]["policies"]] == [4, 4, 4]
    assert (result["config"]["starts"], result["config"]["first_and_last_maze"]) == (walks.name, [10**6, 10**6 + 3])
    found, moments = imagined_vs_real.prepared(args)
    assert {len(moment.actions) for moment in moments} <= {4, 5}
    kept = {world: decides(args, found[0], world, moments) for world in ("imagined", "real")}
    for changes in ({"context": 2}, {"lead": 1}, {"starts": None}):
        other = replace(args, **changes)
        _, others = imagined_vs_real.prepared(other)
        assert all(decides(other, found[0], world, others) != kept[world] for world in kept)
    more = replace(args, real_episodes=4)
    assert decides(more, found[0], "imagined", imagined_vs_real.prepared(more)[1]) == kept["imagined"]


def test_moments_that_leave_no_room_are_refused(finished, walks):
    args = replace(finished[0], starts=walks, context=3, lead=2, steps=997)
    with pytest.raises(RecordingError, match="at step 3 or earlier, expected 3"):
        imagined_vs_real.prepared(args)


def test_another_world_is_run_in_and_only_its_moments_are_refused(toy_folder, tmp_path, monkeypatch):
    """What each of its episodes pays, whoever acts, its seed tells."""
    monkeypatch.setattr(imagined_vs_real, "import_memory_maze_tasks", lambda: pytest.fail("the maze is not needed"))
    args = Args(
        policies=("random", "random@0.5", "random-with-bursts"), output=tmp_path / "run", checkpoint=str(toy_folder),
        steps=3, horizons=(2,), dream_episodes=1, real_episodes=2, workers=1,
    )  # fmt: skip
    message = r"^--starts given with a checkpoint of .*Toy-v0, expected .*MemoryMaze-9x9-v0: .*leave --starts away"
    with pytest.raises(ValueError, match=message):
        main(replace(args, policies=("nowhere",), starts=tmp_path))
    for name in ("forward", "still@0.5"):
        with pytest.raises(ValueError, match=rf"^--policies {name} given with a checkpoint of .*Fix: leave it away"):
            main(replace(args, policies=("random", name)))
    assert not args.output.exists()
    seeds = [SEED_RANGES["test"].start + i for i in range(2)]
    ends = [int(np.random.Generator(np.random.PCG64(seed)).integers(2, 12)) for seed in seeds]
    expected = [1.5 if end > 3 else 0.5 * (end - 1) - 2 for end in ends]
    for row in main(args)["metrics"]["policies"]:
        assert row["real"]["mean"] == np.mean(expected)


def test_a_policy_of_ppo_is_measured_too(finished, measured, checkpoint, tmp_path, capsys):
    args, _ = finished
    shutil.copytree(args.output, tmp_path / "report")
    tiny = replace(dream_ppo.PRESETS["tiny"], checkpoint=checkpoint, denoising_steps=2)
    (tmp_path / "ppo").mkdir()
    with closing(dream_ppo.make_dreams(tiny, 2, 8)) as dreams:
        save_training(tmp_path / "ppo", dream_ppo.settings_of(tiny), make_ppo(dreams, seed=0), TrainingProgress())
    found = main(replace(args, policies=("random", "sticky", str(tmp_path / "ppo")), output=tmp_path / "report"))
    assert measured.told == [("3/3 ppo", "imagined"), ("3/3 ppo", "real")]
    assert found["config"]["policies"][2]["observation"] == "features"
    assert "ppo: trained with denoising_steps = 2, measured like all others" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [{"steps": 0}, {"steps": 1001}, {"dream_episodes": 0}, {"real_episodes": 0}, {"bursts": 1.5}, {"workers": 0},
     {"horizons": (0, 10)}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(changes, checkpoint, tmp_path):
    args = Args(policies=("random", "sticky", "still"), checkpoint=checkpoint, output=tmp_path / "new")
    with pytest.raises(ValueError, match=rf"--{next(iter(changes)).replace('_', '-')} .* given, expected"):
        main(replace(args, **changes))
    assert not (tmp_path / "new").exists()


def test_a_folder_in_which_a_run_goes_on_is_left_alone(checkpoint, tmp_path):
    args = Args(
        policies=("random", "sticky", "forward"), output=tmp_path / "run", checkpoint=checkpoint, steps=6,
        dream_episodes=1, real_episodes=1, workers=1,
    )  # fmt: skip
    with only_run_in(args.output), pytest.raises(FolderInUseError, match=f"{args.output} given to write into"):
        main(args)
    assert [path.name for path in args.output.iterdir()] == [".lock"]


def test_policies_that_cannot_be_compared_are_refused_before_anything_is_measured(trained, checkpoint, tmp_path):
    args = Args(policies=("random", "sticky", "random"), checkpoint=checkpoint, output=tmp_path / "new")
    with pytest.raises(ValueError, match="2 different policies given, expected 3 or more"):
        main(args)
    with pytest.raises(FileNotFoundError, match="policy 'nowhere' given, but there is no such"):
        main(replace(args, policies=("random", "sticky", "nowhere")))
    folder = tmp_path / "elsewhere"
    shutil.copytree(trained, folder, ignore=lambda *_: ["watched"])
    training = json.loads((folder / "training.json").read_text())
    training["config"]["world_model"] = "another"  # a clone on latents: its tokenizer decides
    write_json(folder / "training.json", training)
    prepared(replace(args, policies=("random", "sticky", str(folder))))
    training["config"]["tokenizer"] = "another"
    write_json(folder / "training.json", training)
    with pytest.raises(ValueError, match="with another world model"):
        main(replace(args, policies=("random", "sticky", str(folder))))
    assert not args.output.exists()
