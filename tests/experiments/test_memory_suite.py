"""`make memory`: every command that it would run is one that the scripts take."""

from functools import partial
from pathlib import Path

import pytest

from tests.experiments.dry_runs import ROOT, commands_in, dry_run

MAZE = "wmgym/MemoryMaze-9x9-v0"

make = partial(dry_run, "-f", str(ROOT / "scripts/memory.mk"))


@pytest.fixture(scope="module")
def commands():
    """What would be run for two seeds, by script."""
    return commands_of("SEEDS=0 3", "STEPS=77")


def commands_of(*settings, folder=ROOT):
    """What would be run, by script: its arguments."""
    return commands_in(make(*settings, folder=folder).stdout)


def test_every_system_is_trained_for_each_seed_in_a_folder_of_its_own(commands):
    runs = commands["train_world_model"]
    assert len({run.output for run in runs}) == len(runs) == 2 * 9
    assert {run.backbone for run in runs} == {
        "lssvwm", "mamba2", "mamba2_local", "causal", "causal_window", "dfot", "videossm", "lssvwm_block1",
    }  # fmt: skip
    for run in runs:
        run.check()
        assert run.output.name.split("-")[0].startswith(run.backbone)
        assert run.output.name.endswith(f"-{run.seed}")
        assert (run.seed in (0, 3), run.steps, run.preset, run.conditioning) == (True, 77, "small", "pose")
        assert run.output.parent.name == "77-steps"
    assert {run.output.name for run in runs if run.mode == "diffusion_forcing" and run.clean_prefix == 0} == {
        "lssvwm_no_clean-0", "lssvwm_no_clean-3",
    }  # fmt: skip


def test_what_is_trained_is_measured_on_held_out_walks(commands):
    (benchmark,) = commands["memory_benchmark"]
    benchmark.check()
    assert set(benchmark.runs) == {run.output for run in commands["train_world_model"]}
    recorded = {args.output: args.split for args in commands["collect_episodes"]}
    assert recorded[benchmark.recordings] == "test"
    assert {recorded[run.recordings] for run in commands["train_world_model"]} == {"train"}
    assert {recorded[run.validation] for run in commands["train_world_model"]} == {"validation"}
    assert benchmark.output.parent == commands["train_world_model"][0].output.parent  # other STEPS, another result


def test_what_is_there_is_not_trained_again_and_measured_along(tmp_path):
    done = tmp_path / "runs/memory/1200-steps"
    done.mkdir(parents=True)
    for name in ("data.complete", "tokenizer.complete", "1200-steps/mamba2-7.complete", "1200-steps/lssvwm-0.complete"):
        (tmp_path / "runs/memory" / name).touch()
    printed = make("SEEDS=0", "STEPS=1200", "SYSTEMS=lssvwm causal", folder=tmp_path).stdout
    assert printed.count("train_world_model.py") == 1
    assert "--backbone causal " in printed
    for name in ("lssvwm-0", "causal-0", "mamba2-7"):
        assert f"1200-steps/{name} " in printed.split("--runs")[1]


def test_on_the_maze_each_training_goes_on_from_what_its_system_learned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learned = tmp_path / "runs/memory/77-steps"
    learned.mkdir(parents=True)
    for name in ("../data", "../tokenizer", "causal-0", "causal-3"):
        (learned / f"{name}.complete").touch()
    found = commands_of("WORLD=maze ", "SEEDS=0 3", "STEPS=77", "SYSTEMS=causal dfot", folder=tmp_path)
    runs = {str(run.output): run for run in found["train_world_model"]}
    small, maze = "runs/memory/77-steps/", "runs/memory/maze/77-steps/"
    assert set(runs) == {f"{small}dfot-0", f"{small}dfot-3"} | {
        f"{maze}{name}-{seed}" for name in ("causal", "dfot") for seed in (0, 3)
    }
    for name, run in runs.items():
        if run.start_from:
            run.start_from.mkdir(parents=True)  # as the training on the small world leaves it
        run.check()
        assert run.transfer == name.startswith(maze)
        assert run.start_from == (Path(small) / run.output.name / "checkpoint" if run.transfer else None)
        assert run.tokenizer == run.recordings.parent / "tokenizer"
        assert run.recordings == Path("runs/memory/maze/train" if run.transfer else "runs/memory/train")
    recorded = {str(args.output): (args.env, args.frame_size) for args in found["collect_episodes"]}
    home = "runs/memory/maze/"
    assert recorded == dict.fromkeys((f"{home}train", f"{home}validation", f"{home}test"), (MAZE, 32))
    (benchmark,) = found["memory_benchmark"]
    assert (benchmark.world, benchmark.recordings) == ("MemoryMaze", Path("runs/memory/maze/test"))
    assert {str(run) for run in benchmark.runs} == {name for name in runs if name.startswith(maze)}
    assert benchmark.beside is None


def test_a_maze_that_is_trained_asks_for_no_small_world(tmp_path):
    done, result = tmp_path / "runs/memory/maze/9-steps", tmp_path / "runs/memory/9-steps/result"
    done.mkdir(parents=True)
    (done / "causal-0.complete").touch()
    found = commands_of("WORLD=maze", "SEEDS=0", "STEPS=9", "SYSTEMS=causal", folder=tmp_path)
    assert [name for name, ran in found.items() if ran] == ["memory_benchmark"]
    result.mkdir(parents=True)
    (result / "result.json").touch()
    (benchmark,) = commands_of("WORLD=maze", "SEEDS=0", "STEPS=9", "SYSTEMS=causal", folder=tmp_path)[
        "memory_benchmark"
    ]
    assert benchmark.beside == Path("runs/memory/9-steps/result/result.json")


def test_the_maze_is_recorded_when_the_small_world_is_learned():
    """Tokenizers are trained by the clock, so nothing shall run beside them."""
    lines = make("WORLD=maze", "SEEDS=0", "SYSTEMS=causal lssvwm", "-j8").stdout.replace("\\\n", " ").splitlines()
    names = ("output runs/memory/1200-steps/", "MemoryMaze-9x9-v0", "output runs/memory/maze/1200-steps")
    small, recorded, maze = ([i for i, line in enumerate(lines) if name in line] for name in names)
    assert (len(small), len(recorded), len(maze)) == (2, 3, 3)  # two trainings, and the result
    assert max(small) < min(recorded)
    assert max(recorded) < min(maze)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("WORLD=mars", "WORLD = mars, expected texture or maze"),
        ("WORLD=", "WORLD = , expected texture or maze"),
        ("WORLD=texture maze", "WORLD = texture maze, expected texture or maze"),
        ("SYSTEMS=lssvwm lssvvm", "SYSTEMS has lssvvm, expected some of: lssvwm causal_window"),
        ("SEEDS=-1", "SEEDS = -1, expected whole numbers"),
        ("SEEDS=", "SEEDS is empty, expected whole numbers"),
        ("STEPS=1e3", "STEPS = 1e3, expected a whole number"),
        ("STEPS=", "STEPS = , expected a whole number of 1 or more"),
        ("STEPS=0", "STEPS = 0, expected a whole number of 1 or more"),
        ("STEPS=1 2", "STEPS = 1 2, expected a whole number of 1 or more"),
        ("SYSTEMS=", "SYSTEMS is empty, expected some of: lssvwm"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(setting, says):
    refused = make(setting, check=False)
    assert refused.returncode != 0
    assert says in refused.stderr
    assert not refused.stdout
