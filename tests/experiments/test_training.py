"""The training scripts on a few random frames: what they leave behind, kills, several processes."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.run_lock import FolderInUseError, only_run_in
from experiments import train_tokenizer, train_world_model
from model.checkpoint import CheckpointError, load_tensors, save_tensors
from model.config import PRESETS
from model.world_model import WorldModel
from wmgym import errors
from wmgym.checkpoint import open_checkpoint
from wmgym.recording import SEED_RANGES, Episode, read_episode, scan, write_episode

ROOT = Path(__file__).parents[2]


def tokenizer_args(recordings, output, **changes):
    settings = {"validation": recordings, "preset": "micro", "minutes": 0.05, "batch": 4, "save_every": 1}
    return train_tokenizer.Args(recordings, output=output, **settings | changes)


@pytest.fixture(scope="module")
def tokenizer(recordings, tmp_path_factory):
    """A tokenizer trained for three seconds."""
    output = tmp_path_factory.mktemp("runs") / "tokenizer"
    assert np.isfinite(train_tokenizer.main(tokenizer_args(recordings, output))["psnr"])
    return output


def world_model_args(recordings, tokenizer, output, **changes):
    settings = {"preset": "micro", "minutes": 0.05, "stages": ((0.5, 8), (1.0, 16)), "frames_per_step": 32}
    settings |= {"save_every": 0.5, "dreamed_frames": 4, "dream_after": 0.0, "contexts": 2}
    settings |= {"recordings": recordings, "validation": recordings, "tokenizer": tokenizer, "output": output}
    return train_world_model.Args(**settings | changes)


def command(args, *extra):
    """The same run as a command line."""
    flags = [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in ("recordings", "validation", "tokenizer")]
    flags += [f"--output={args.output}", "--preset=micro", "--stages", "1.0", "16", "--frames-per-step=32"]
    flags += [f"--minutes={args.minutes}", "--save-every=0.5", "--contexts=2"]
    return [sys.executable, str(ROOT / "experiments/train_world_model.py"), *flags, *extra]


def shell():
    """An environment in which the packages are found from anywhere."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def steps(run):
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(recordings, tokenizer, tmp_path_factory):
    """A world model trained for three seconds."""
    args = world_model_args(recordings, tokenizer, tmp_path_factory.mktemp("runs") / "world_model")
    metrics = train_world_model.main(args)
    return args, metrics


def test_a_run_leaves_a_checkpoint_that_opens_and_says_where_it_comes_from(run, recordings):
    args, metrics = run
    world = open_checkpoint(args.output / "checkpoint").world
    assert world.config.dynamics.width == 32
    record = json.loads((args.output / "checkpoint" / "training.json").read_text())
    assert record["episodes"] == 3
    assert record["recorded_frames"] == sum(len(read_episode(path).image) for path in scan(recordings).usable)
    assert (record["first_episode"], record["last_episode"]) == ("0", "2")
    assert record["progress"]["step"] == steps(args.output)[-1]
    assert record["tokenizer"]["settings"]["batch"] == 4
    assert str(recordings.parent) not in json.dumps(record)
    assert np.isfinite(metrics["validation/psnr_first_1_steps"])
    assert list(args.output.glob("events.out.tfevents.*"))


def test_raising_the_minutes_goes_on(run, recordings, tokenizer):
    args, _ = run
    before = steps(args.output)[-1]
    done = json.loads((args.output / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    raised = done / 60 + 0.001  # more than was trained, however slow this machine is: at least one step
    train_world_model.main(world_model_args(recordings, tokenizer, args.output, minutes=raised))
    assert steps(args.output)[-1] > before


def test_a_run_that_is_done_says_so_and_leaves_nothing(run, recordings, tokenizer, capsys):
    args, _ = run
    before = sorted(path.name for path in args.output.iterdir())
    assert train_world_model.main(world_model_args(recordings, tokenizer, args.output, minutes=0.01)) == {}
    assert train_tokenizer.main(tokenizer_args(recordings, tokenizer, minutes=0.01)) == {}
    said = capsys.readouterr().out
    assert said.count("nothing to do: 0.") == 2
    assert said.count("of 0.01 minutes are done; raise --minutes") == 2
    assert sorted(path.name for path in args.output.iterdir()) == before


def test_settings_changed_on_the_way_are_recorded_with_their_step(recordings, tokenizer, tmp_path, capsys):
    output = tmp_path / "run"
    train_world_model.main(world_model_args(recordings, tokenizer, output))
    before = steps(output)[-1]
    done = json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    longer = done / 60 + 0.03
    train_world_model.main(world_model_args(recordings, tokenizer, output, minutes=longer, learning_rate=1e-3))
    record = json.loads((output / "checkpoint" / "training.json").read_text())
    assert record["settings"]["learning_rate"] == 2e-3
    assert record["settings"]["minutes"] == longer
    change = {"step": before, "setting": "learning_rate", "from": 2e-3, "to": 1e-3}
    assert record["changed_settings"] == [change]
    assert "--learning-rate was 0.002 and is 0.001" in capsys.readouterr().out


def test_a_run_of_earlier_code_goes_on(run, recordings, tokenizer, tmp_path):
    earlier = tmp_path / "run"
    shutil.copytree(run[0].output, earlier)
    (earlier / "latents" / "recordings.json").unlink()
    before = steps(earlier)[-1]
    done = json.loads((earlier / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    train_world_model.main(world_model_args(recordings, tokenizer, earlier, minutes=done / 60 + 0.03))
    assert steps(earlier)[-1] > before
    assert (earlier / "latents" / "recordings.json").exists()


def test_other_recordings_than_those_a_run_began_with_are_refused(run, recordings, tokenizer, tmp_path):
    others = tmp_path / "others"
    others.mkdir()
    shutil.copy(recordings / "0.npz", others / "1.npz")
    with pytest.raises(errors.RecordingError, match="not those in --recordings"):
        train_world_model.main(world_model_args(others, tokenizer, run[0].output, validation=recordings, minutes=9.0))


def test_a_divergence_says_whether_anything_was_saved(recordings, tokenizer, tmp_path):
    args = world_model_args(recordings, tokenizer, tmp_path / "run", learning_rate=1e30, save_every=100.0, minutes=5.0)
    with pytest.raises(FloatingPointError, match=r"Lower --learning-rate 1e\+30.* Nothing was saved yet"):
        train_world_model.main(args)


def test_a_new_run_can_start_from_the_weights_of_another(run, recordings, tokenizer, tmp_path):
    source = run[0].output / "checkpoint"
    args = world_model_args(recordings, tokenizer, tmp_path / "second", start_from=source, learning_rate=0.0)
    train_world_model.main(args)
    weights = [dict(open_checkpoint(f).world.named_parameters()) for f in (source, args.output / "checkpoint")]
    for name, weight in weights[0].items():
        np.testing.assert_allclose(weight, weights[1][name], atol=1e-6, err_msg=name)
    record = json.loads((args.output / "checkpoint" / "training.json").read_text())
    assert record["start_from"]["progress"] == json.loads((source / "training.json").read_text())["progress"]


def test_weights_of_another_shape_are_refused(recordings, tokenizer, tmp_path):
    micro = PRESETS["micro"]
    smaller = replace(micro, dynamics=replace(micro.dynamics, layers=1))
    WorldModel(smaller).save_pretrained(tmp_path / "smaller")
    args = world_model_args(recordings, tokenizer, tmp_path / "run", start_from=tmp_path / "smaller")
    with pytest.raises(CheckpointError, match="another shape"):
        train_world_model.main(args)


def test_a_tokenizer_that_was_trained_further_is_refused(run, recordings, tokenizer, tmp_path):
    other = tmp_path / "tokenizer"
    shutil.copytree(tokenizer, other)
    weights = load_tensors(other / "model.safetensors")
    save_tensors(other / "model.safetensors", {key: value + 0.01 for key, value in weights.items()})
    with pytest.raises(errors.CheckpointError, match="not encoded by the tokenizer"):
        train_world_model.main(world_model_args(recordings, other, run[0].output, minutes=9.0))
    source = run[0].output / "checkpoint"
    with pytest.raises(CheckpointError, match="latents of another tokenizer"):
        train_world_model.main(world_model_args(recordings, other, tmp_path / "run", start_from=source))


def test_a_damaged_recording_is_named_skipped_and_counted(recordings, tokenizer, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    shutil.copytree(recordings, mixed)
    inside = bytearray((mixed / "1.npz").read_bytes())
    inside[len(inside) // 2] ^= 0xFF  # in the middle of the images: the table of contents is sound
    (mixed / "1.npz").write_bytes(inside)
    train_world_model.main(world_model_args(mixed, tokenizer, tmp_path / "run", validation=recordings))
    record = json.loads((tmp_path / "run" / "checkpoint" / "training.json").read_text())
    assert record["episodes"] == 2
    said = capsys.readouterr().err
    assert "1.npz" in said
    assert "2 unusable files" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"dreamed_frames": 0},
        {"predict_passes": 0},
        {"dreamed_share": 1.5},
        {"minutes": 0.0},
        {"minutes": -1.0},
        {"stages": ((0.6, 32), (1.0, 0))},
        {"stages": ((1.0, -4),)},
        {"shortcut_fraction": 7.0},
        {"pure_noise": 2.0},
        {"max_episodes": 0},
        {"seed": -1},
    ],
)
def test_numbers_that_make_no_sense_are_refused_at_once(changes, recordings, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="expected"):
        train_world_model.main(world_model_args(recordings, tokenizer, tmp_path, **changes))


@pytest.mark.parametrize("save_every", [math.nan, 0.0, -1.0])
def test_intervals_of_saves_that_make_no_sense_are_refused_at_once(save_every, tmp_path):
    nowhere = tmp_path / "nowhere"
    for script, args in (
        (train_tokenizer, tokenizer_args(nowhere, tmp_path / "run", save_every=save_every)),
        (train_world_model, world_model_args(nowhere, nowhere, tmp_path / "run", save_every=save_every)),
    ):
        with pytest.raises(ValueError, match=f"--save-every {save_every} given, expected 0.1 or more"):
            script.main(args)
    with pytest.raises(ValueError, match="--validate-every nan given, expected 0 or more"):
        train_world_model.main(world_model_args(nowhere, nowhere, tmp_path / "run", validate_every=math.nan))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dream_steps", [(1, 16), (3,), ()])
def test_dreams_in_steps_that_no_sampler_takes_are_refused_at_once(dream_steps, recordings, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="--dream-steps"):
        train_world_model.main(world_model_args(recordings, tokenizer, tmp_path, dream_steps=dream_steps))


@pytest.mark.parametrize("changes", [{"minutes": 0.0}, {"batch": 0}, {"episodes": -1}])
def test_a_tokenizer_that_would_train_on_nothing_is_refused(changes, recordings, tmp_path):
    with pytest.raises(ValueError, match="expected"):
        train_tokenizer.main(tokenizer_args(recordings, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_tokenizer_is_not_trained_on_held_out_mazes(split, recordings, noise, tmp_path):
    seed = SEED_RANGES[split].start
    held_out = noise(tmp_path / "held_out", seed=seed)
    with pytest.raises(errors.RecordingError, match=f"seed {seed}, of split {split}"):
        train_tokenizer.main(tokenizer_args(held_out, tmp_path / "run", validation=recordings))
    frames = train_tokenizer.load_frames(held_out, 8, 0, 64, for_training=False)
    assert frames.shape == (2, 64, 64, 3)


def test_frames_that_the_tokenizer_cannot_take_are_refused_right_after_reading(recordings, noise, tmp_path):
    small = noise(tmp_path / "small", size=32)
    for training, validation in ((small, recordings), (recordings, small)):
        with pytest.raises(errors.RecordingError, match=r"0\.npz has frames of 32x32 pixels, expected 64x64"):
            train_tokenizer.main(tokenizer_args(training, tmp_path / "run", validation=validation))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"action_count": 9}, {"size": 32}])
def test_validation_episodes_of_another_world_are_refused_before_training(
    changes, recordings, tokenizer, noise, tmp_path
):
    other = noise(tmp_path / "other", frames=66, **changes)
    with pytest.raises(errors.ContextError, match="expected 6 actions and 64x64"):
        train_world_model.main(world_model_args(recordings, tokenizer, tmp_path / "run", validation=other))
    assert not (tmp_path / "run").exists()


def test_validation_episodes_that_are_too_short_are_refused_before_training(recordings, tokenizer, tmp_path):
    episode = read_episode(scan(recordings).usable[0])
    short = Episode(episode.image[:65], episode.action[:65], episode.reward[:65], action_count=6)
    (tmp_path / "short").mkdir()
    write_episode(tmp_path / "short" / "0.npz", short)
    args = world_model_args(recordings, tokenizer, tmp_path / "run", validation=tmp_path / "short")
    with pytest.raises(errors.ContextError, match="65 frames is too short"):
        train_world_model.main(args)
    assert not (tmp_path / "run").exists()


def test_a_killed_run_goes_on_where_it_last_saved(recordings, tokenizer, tmp_path):
    args = world_model_args(recordings, tokenizer, tmp_path / "killed", minutes=5.0)
    killed = subprocess.Popen(command(args), env=shell(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (args.output / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    state = load_tensors(args.output / "training_state.safetensors")  # metrics are written just after it
    saved = json.loads(bytes(state["progress"].tolist()))
    args.minutes = saved["seconds"] / 60 + 0.03
    train_world_model.main(args)
    assert len(steps(args.output)) == len(set(steps(args.output)))
    assert steps(args.output)[-1] > saved["step"]
    last = json.loads((args.output / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["frames"] == 32 * last["step"]


def test_two_processes_train_one_model(recordings, tokenizer, tmp_path):
    args = world_model_args(recordings, tokenizer, tmp_path / "two")
    finished = subprocess.run(command(args, "--devices=2"), env=shell(), capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    last = json.loads((args.output / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["frames"] == 2 * 32 * last["step"]
    assert open_checkpoint(args.output / "checkpoint")


def test_two_processes_train_one_tokenizer(recordings, tmp_path):
    output = tmp_path / "two"
    finished = subprocess.run(
        [sys.executable, str(ROOT / "experiments/train_tokenizer.py"), f"--recordings={recordings}",
         f"--validation={recordings}", f"--output={output}", "--preset=micro", "--minutes=0.02", "--batch=4",
         "--devices=2"],
        env=shell(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    last = json.loads((output / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["frames"] == 2 * 4 * last["step"]


def test_a_folder_in_which_a_run_goes_on_is_left_alone(recordings, tokenizer, tmp_path):
    folder = tmp_path / "run"
    args = world_model_args(recordings, tokenizer, folder, minutes=5.0)
    told = f"{folder} given to write into, expected .* process {os.getpid()} "
    with only_run_in(folder):
        with pytest.raises(FolderInUseError, match=told):
            train_world_model.main(args)
        with pytest.raises(FolderInUseError, match=told):
            train_tokenizer.main(tokenizer_args(recordings, folder, minutes=5.0))
        refused = subprocess.run(command(args, "--devices=2"), env=shell(), capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1
    assert re.search(told, refused.stderr)
    assert "Traceback" not in refused.stderr
    assert refused.stderr.count("FolderInUseError: ") == 1  # the other process ends without a word
    assert [path.name for path in folder.iterdir()] == [".lock"]
