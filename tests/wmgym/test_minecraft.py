"""The dream of Minecraft: the dreams of a checkpoint that is named, and a way to make one where none is."""

import re
from pathlib import Path

import gymnasium
import pytest

from wmgym.env import DreamEnv
from wmgym.errors import CheckpointError
from wmgym.vector_env import DreamVectorEnv

ROOT = Path(__file__).resolve().parents[2]
DREAM = "LSSVWM-Minecraft-v0"


def test_the_id_makes_the_same_classes_as_the_maze(micro_folder):
    with gymnasium.make(DREAM, checkpoint=str(micro_folder), observation="features") as env:
        assert type(env.unwrapped) is DreamEnv
        assert env.spec.max_episode_steps == 1000
        twin = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
        assert (env.reset(seed=3)[0] == twin.reset(seed=3)[0]).all()


def test_it_dreams_in_batches(micro_folder):
    envs = gymnasium.make_vec(DREAM, num_envs=2, checkpoint=str(micro_folder), observation="features")
    assert type(envs) is DreamVectorEnv
    assert (envs.num_envs, envs.max_episode_steps) == (2, 1000)
    assert envs.reset(seed=0)[0].shape == envs.observation_space.shape
    envs.close()


@pytest.mark.parametrize("make", [gymnasium.make, lambda name: gymnasium.make_vec(name, num_envs=2)])
def test_without_a_checkpoint_the_message_says_how_to_train_one(make):
    with pytest.raises(CheckpointError, match="none of Minecraft ships with wmgym") as caught:
        make(DREAM)
    commands = re.findall(r"python (experiments/\S+\.py) ([^\n]*)", str(caught.value))
    assert [Path(script).name for script, _ in commands] == ["train_tokenizer.py", "train_world_model.py"]
    for script, arguments in commands:  # each has the options that are named
        source = (ROOT / script).read_text(encoding="utf-8")
        for option in re.findall(r"--([a-z-]+)", arguments):
            assert f"\n    {option.replace('-', '_')}: " in source, (script, option)
