"""Training on poses in place of actions, from recordings to a checkpoint, and where such a checkpoint is refused."""

import json
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import wmgym  # noqa: F401  (registers the ids)
from experiments import evaluate_world_model, train_world_model
from model import checkpoint as checkpoint_files
from model.config import PRESETS
from model.world_model import WorldModel
from wmgym import fidelity
from wmgym.checkpoint import open_checkpoint
from wmgym.clips import cut_clips
from wmgym.errors import CheckpointError, ContextError
from wmgym.fidelity import dream_against_reality, dream_along, read_all
from wmgym.memory_reach import memory_reach
from wmgym.recording import read_episode, scan, write_episode


def pose_args(recordings, tokenizer, output, **changes):
    settings = {"preset": "micro", "minutes": 0.03, "stages": ((1.0, 16),), "frames_per_step": 32, "contexts": 2}
    settings |= {"dreamed_frames": 4, "dream_after": 0.0, "shortcut_after": 0.0, "conditioning": "pose"}
    settings |= {"recordings": recordings, "validation": recordings, "tokenizer": tokenizer, "output": output}
    return train_world_model.Args(**settings | changes)


@pytest.fixture(scope="module")
def checkpoint(walks, walk_tokenizer, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "world_model"
    metrics = train_world_model.main(pose_args(walks, walk_tokenizer, output))
    assert np.isfinite(metrics["validation/psnr_mean_4_steps"])
    return output / "checkpoint"


def test_a_model_of_poses_dreams_along_recorded_paths(checkpoint, walks):
    world = open_checkpoint(checkpoint).world
    assert world.config.dynamics.pose_size == 4
    episodes = read_all(scan(walks).usable)
    along = dream_against_reality(world, episodes, clips_per_episode=1, context=20, horizon=3)
    assert along.dreamed.shape == (3, 3, 64, 64, 3)
    assert list(memory_reach(world, episodes, (1, 4), clips_per_episode=1, context=8)) == [1, 4]


def test_clips_dream_the_same_in_parts_as_side_by_side(checkpoint, walks, monkeypatch):
    world = open_checkpoint(checkpoint).world
    clips = cut_clips(world, read_all(scan(walks).usable), clips_per_episode=1, frames=9)
    together = dream_along(world, clips, 6, denoising_steps=2, seed=5)
    monkeypatch.setattr(fidelity, "AT_ONCE", 2)
    in_parts = dream_along(world, clips, 6, denoising_steps=2, seed=5)
    assert np.abs(together.astype(int) - in_parts).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).max() > 1


def test_actions_do_not_step_it(checkpoint, walks, tmp_path):
    with pytest.raises(CheckpointError, match="conditioned on poses"):
        gymnasium.make("LSSVWM-MemoryMaze-v0", checkpoint=str(checkpoint))
    with pytest.raises(CheckpointError, match="conditioned on poses"):
        evaluate_world_model.main(evaluate_world_model.Args(walks, tmp_path / "out", checkpoint))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lacking", ["recordings", "validation"])
def test_recordings_that_do_not_say_where_the_camera_was_are_refused_at_once(lacking, walks, walk_tokenizer, tmp_path):
    blind = tmp_path / "blind"
    blind.mkdir()
    write_episode(blind / "0.npz", replace(read_episode(walks / "0.npz"), state={}))
    changes = {"recordings": walks, "validation": walks} | {lacking: blind}
    with pytest.raises(ContextError, match="no agent_pos"):
        train_world_model.main(pose_args(output=tmp_path / "run", tokenizer=walk_tokenizer, **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"preset": "cpu"}, "the tokenizer emits latents of"),
        ({"conditioning": "action", "pose_origin": 3}, "--pose-origin 3 given with --conditioning action, expected 0"),
        ({"transfer": True}, "--transfer given without --start-from"),
        ({"start_from": Path("nowhere")}, "--start-from nowhere given, expected the folder of a checkpoint"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_encoded(changes, says, walks, walk_tokenizer, tmp_path):
    with pytest.raises(ValueError, match=says):
        train_world_model.main(pose_args(walks, walk_tokenizer, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_store_without_poses_says_what_may_be_the_cause(walks, walk_tokenizer, tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for i, state in enumerate([None, {}]):
        walk = read_episode(walks / f"{i}.npz")
        write_episode(mixed / f"{i}.npz", walk if state is None else replace(walk, state=state))
    with pytest.raises(ContextError, match="some recordings lack agent_pos"):
        train_world_model.main(pose_args(mixed, walk_tokenizer, tmp_path / "run", validation=walks))


def test_a_run_can_start_with_what_was_learned_on_another_world(walks, walk_tokenizer, tmp_path):
    micro = PRESETS["micro"]
    dynamics = replace(micro.dynamics, pose_size=4, num_actions=9)
    other = WorldModel(replace(micro, dynamics=dynamics))
    other.save_pretrained(tmp_path / "other")
    changes = {"start_from": tmp_path / "other", "learning_rate": 0.0}
    with pytest.raises(checkpoint_files.CheckpointError, match="or for other actions"):
        train_world_model.main(pose_args(walks, walk_tokenizer, tmp_path / "refused", **changes))
    train_world_model.main(pose_args(walks, walk_tokenizer, tmp_path / "run", transfer=True, **changes))
    found = open_checkpoint(tmp_path / "run" / "checkpoint").world
    assert found.config.dynamics.num_actions != 9
    for name, weight in other.dynamics.named_parameters():
        np.testing.assert_allclose(
            found.dynamics.get_parameter(name).detach(), weight.detach(), atol=1e-6, err_msg=name
        )
    again = pose_args(walks, walk_tokenizer, tmp_path / "run", transfer=True, learning_rate=0.0, minutes=0.05)
    train_world_model.main(again)  # goes on, and needs its source no more
    record = json.loads((tmp_path / "run" / "checkpoint" / "training.json").read_text())
    assert record["settings"]["start_from"] == "other"
    assert not record.get("changed_settings")
    assert not torch.equal(found.tokenizer.state_dict()["scale"], other.tokenizer.state_dict()["scale"])
