"""Who walks when a world is recorded."""

from collections import Counter

import gymnasium
import numpy as np
import pytest

import wmgym  # noqa: F401  (registers the ids)
from agents.explorer import Explorer
from agents.mixtures import TEXTURE_UNDONE_BY, make_walker, mixture_of

MAZE, TEXTURE = "wmgym/MemoryMaze-9x9-v0", "wmgym/TextureWorld-v0"


@pytest.mark.parametrize("env", [MAZE, TEXTURE])
def test_the_mixture_is_what_is_documented(env):
    counts = Counter(make_walker(env, seed)[1].split()[0] for seed in range(2000))
    assert set(counts) == set(mixture_of(env))
    for kind, share in mixture_of(env).items():
        assert counts[kind] / 2000 == pytest.approx(share, abs=0.05)  # over four standard deviations


@pytest.mark.parametrize("env", [MAZE, TEXTURE])
def test_the_seed_decides_who_walks(env):
    assert [make_walker(env, seed)[1] for seed in range(20)] == [make_walker(env, seed)[1] for seed in range(20)]


def test_actions_of_the_texture_world_are_undone():
    with gymnasium.make(TEXTURE) as env:
        env.reset(seed=0)
        before, *_ = env.step(1)
        for action, undo in enumerate(TEXTURE_UNDONE_BY):
            env.step(action)
            np.testing.assert_array_equal(env.step(undo)[0], before)


def test_explorers_are_recorded_when_asked_for():
    walkers = [make_walker("wmgym/MemoryMaze-9x9-v0", seed, "explorer") for seed in range(50)]
    assert all(isinstance(walker, Explorer) for walker, _ in walkers)
    said = [dict(part.split("=") for part in name.split()[1:]) for _, name in walkers]
    noises = [float(each["noise"]) for each in said]
    assert 0 <= min(noises) < 0.1 < 0.2 < max(noises) <= 0.3
    assert 10 < sum(each["held"] == "True" for each in said) < 40
    assert mixture_of("wmgym/MemoryMaze-9x9-v0", "explorer") == {"explorer": 1.0}
    with pytest.raises(ValueError, match=r"walkers = 'explorer' in wmgym/TextureWorld-v0, expected 'mixture'"):
        make_walker("wmgym/TextureWorld-v0", 0, "explorer")
