"""Recordings of continuous actions, from the files to a dream and its measures, by the scripts as they are."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import evaluate_world_model, train_world_model
from tests.experiments.conftest import short_evaluation
from tests.wmgym.dot_world import DotWorld, record
from wmgym.checkpoint import open_checkpoint
from wmgym.env import DreamEnv
from wmgym.errors import ContextError
from wmgym.recording import write_episode


def dots(folder, seeds, **changes):
    """Walks of a dot in frames of 64x64."""
    folder.mkdir()
    for seed in seeds:
        episode = record(seed, 79)
        write_episode(
            folder / f"{seed}.npz", replace(episode, image=episode.image.repeat(4, 1).repeat(4, 2), **changes)
        )
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Training and test recordings."""
    folder = tmp_path_factory.mktemp("dots")
    return dots(folder / "train", range(3)), dots(folder / "test", range(2_000_000, 2_000_002))


def arguments(folders, tokenizer, output):
    return train_world_model.Args(
        *folders, tokenizer, output, preset="micro", minutes=30.0, steps=2, stages=((1.0, 16),), frames_per_step=32,
        clips=2, clip_frames=4, contexts=2,
    )  # fmt: skip


def test_from_recordings_to_a_dream_and_its_measures(folders, walk_tokenizer, tmp_path):
    metrics = train_world_model.main(arguments(folders, walk_tokenizer, tmp_path / "run"))
    assert np.isfinite(list(metrics.values())).all()
    opened = open_checkpoint(tmp_path / "run" / "checkpoint")
    assert opened.action_space == DotWorld.action_space
    assert (opened.clips.actions.dtype, opened.clips.actions.shape) == (np.float32, (2, 4, 2))
    env = DreamEnv(checkpoint=opened, starts="clips")
    env.reset(seed=0)
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])
    result = evaluate_world_model.main(
        short_evaluation(folders[1], tmp_path / "measures", tmp_path / "run" / "checkpoint", context=4)
    )
    assert np.isfinite(result["metrics"]["dream"]["1"]["psnr_first"])


def test_held_out_recordings_of_another_world_are_refused(folders, walks, walk_tokenizer, tmp_path):
    with pytest.raises(ContextError, match=r"an episode of 5 actions .* expected actions from \[-3\.0, -30\.0\]"):
        train_world_model.main(arguments((folders[0], walks), walk_tokenizer, tmp_path / "run"))
