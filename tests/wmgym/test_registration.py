"""The ids: found by gymnasium.make and make_vec, described by data only, cheap to know about."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import wmgym
from wmgym.env import DreamEnv
from wmgym.vector_env import DreamVectorEnv

DREAM = "LSSVWM-MemoryMaze-v0"
REAL = [*(f"wmgym/MemoryMaze-{size}-v0" for size in ("9x9", "11x11", "13x13", "15x15")), "wmgym/TextureWorld-v0"]
IDS = [DREAM, "LSSVWM-Minecraft-v0", *REAL, "wmgym/MineRL-v0"]


@pytest.mark.parametrize("name", IDS)
def test_specs_are_data(name):
    spec = gymnasium.spec(name)
    assert json.loads(spec.to_json())["id"] == name
    assert isinstance(spec.entry_point, str)


def test_the_dream_has_both_entry_points_and_a_horizon():
    spec = gymnasium.spec(DREAM)
    assert isinstance(spec.vector_entry_point, str)
    assert spec.max_episode_steps == 1000


def test_registering_twice_changes_nothing():
    before = dict(gymnasium.registry)
    wmgym.registration.register_all()
    assert before == dict(gymnasium.registry)


def test_make_gives_the_dream(micro_folder):
    with gymnasium.make(DREAM, checkpoint=str(micro_folder), observation="latent") as env:
        assert isinstance(env.unwrapped, DreamEnv)
        assert env.spec.max_episode_steps == 1000
        assert env.observation_space.shape == (4, 8, 8)
        assert env.action_space == gymnasium.spaces.Discrete(6)


def test_the_spec_of_an_environment_rebuilds_it(micro_folder):
    with gymnasium.make(DREAM, checkpoint=str(micro_folder), observation="features") as env:
        spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
        with gymnasium.make(spec) as twin:
            np.testing.assert_array_equal(env.reset(seed=3)[0], twin.reset(seed=3)[0])


@pytest.mark.parametrize("how", [{}, {"vectorization_mode": "vector_entry_point"}])
def test_make_vec_gives_the_batched_dream(micro, how):
    envs = gymnasium.make_vec(DREAM, num_envs=3, checkpoint=micro, observation="features", **how)
    assert isinstance(envs, DreamVectorEnv)
    assert (envs.num_envs, envs.max_episode_steps) == (3, 1000)
    assert envs.observation_space.shape == (3, micro.world.config.dynamics.features)
    envs.close()


def test_the_id_imports_wmgym_by_itself(micro_folder):
    program = (
        "import sys, gymnasium\n"
        f"env = gymnasium.make('wmgym:{DREAM}', checkpoint={str(micro_folder)!r})\n"
        "assert env.reset(seed=0)[0].shape == (64, 64, 3)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_public_names_load_when_used_and_not_before():
    program = (
        "import sys, wmgym\n"
        "heavy = {'torch', 'dm_control', 'mujoco', 'pygame'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert set(wmgym.__all__) <= set(dir(wmgym))\n"
        "assert all(getattr(wmgym, name).__name__ == name for name in wmgym.__all__)\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="NoSuchThing"):
        _ = wmgym.NoSuchThing
