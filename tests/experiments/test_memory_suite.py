"""`make memory`: every command that it would run is one that the scripts take."""

import shlex
import subprocess
from pathlib import Path

import pytest
import tyro

from experiments import collect_episodes, memory_benchmark, train_tokenizer, train_world_model

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "collect_episodes": collect_episodes,
    "train_tokenizer": train_tokenizer,
    "train_world_model": train_world_model,
    "memory_benchmark": memory_benchmark,
}


@pytest.fixture(scope="module")
def commands():
    """What would be run for two seeds, by script."""
    line = ["make", "--dry-run", "-f", "scripts/memory.mk", "SEEDS=0 3", "PYTHON_BIN=python", "STEPS=77"]
    printed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.replace("\\\n", " ")
    found = {name: [] for name in SCRIPTS}
    for command in printed.splitlines():
        words = shlex.split(command.split(">")[0])
        if words[:1] == ["python"]:
            script = SCRIPTS[Path(words[1]).stem]
            found[Path(words[1]).stem].append(tyro.cli(script.Args, args=words[2:]))
    return found


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
