"""How far draws of the next frame lie apart: nothing of the dreams changes by measuring it, and it is what it says."""

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from wmgym.disagreement import Disagreement
from wmgym.vector_env import DreamVectorEnv


def make(folder, samples, **settings):
    return DreamVectorEnv(
        3, checkpoint=folder, observation="latent", disagreement_samples=samples, max_episode_steps=4, **settings
    )


@pytest.mark.parametrize("fast", [True, False])
def test_the_dreams_are_the_same_to_the_bit(fast, micro_folder):
    plain, measured = (make(micro_folder, samples, fast=fast) for samples in (0, 3))
    np.testing.assert_array_equal(plain.reset(seed=5)[0], measured.reset(seed=5)[0])
    assert measured.disagreement.tolist() == [0, 0, 0]
    for step in range(10):  # over starts, too
        actions = np.array([step % 6, 1, 2])
        ours, theirs = plain.step(actions), measured.step(actions)
        for mine, other in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(mine, other)
        assert ours[4].keys() == theirs[4].keys() <= {"final_obs", "_final_obs", "final_info", "_final_info"}
        assert measured.disagreement.shape == (3,)
        assert measured.disagreement.dtype == np.float32
        assert (measured.disagreement > 0).all()


@pytest.mark.parametrize("fast", [True, False])
def test_it_is_the_spread_of_what_the_model_draws_in_two_steps(fast, micro_folder):
    env = make(micro_folder, 3, fast=fast)
    env.reset(seed=1)
    env.step([1, 2, 3])
    engine, action = env._dreams, torch.tensor([3, 4, 0])
    drawn = []
    for seed in range(3):  # by the public way, one dream after the other
        noise = torch.randn(engine._latent_shape, generator=torch.Generator().manual_seed(seed)).expand(3, -1, -1, -1)
        memory = engine._stepping.lay_out(engine.clone().memory)
        with torch.inference_mode():
            drawn.append(engine._stepping.imagine(memory, action, noise.contiguous(), 2)[0].latent)
    env.step(action.numpy())
    expected = np.sqrt(np.stack(drawn).var(0, ddof=1).mean((1, 2, 3)))
    np.testing.assert_allclose(env.disagreement, expected, rtol=1e-4)


def test_it_depends_on_state_and_action_only(micro_folder):
    """So branches of a planner, and dreams of another seed, can be compared."""
    env = make(micro_folder, 2)
    env.reset(seed=1)
    env.step([1, 2, 3])
    state = env.clone_state()
    env.step([1, 1, 1])
    first = env.disagreement
    env.restore_state(state)
    np.testing.assert_array_equal(env.disagreement, first)  # of the last step still
    env._dreams.seed(0, 77)
    env.step([1, 1, 2])
    np.testing.assert_array_equal(env.disagreement[:2], first[:2])
    assert env.disagreement[2] != first[2]


def test_a_dream_that_waits_to_be_started_disagrees_with_nothing(micro_folder):
    env = make(micro_folder, 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    env.reset(seed=0)
    for _ in range(4):
        env.step([0, 1, 2])
    assert (env.disagreement > 0).all()
    env.step([0, 1, 2])
    assert env.disagreement.tolist() == [0, 0, 0]


def test_a_step_that_breaks_off_leaves_what_was_told_before(micro_folder, monkeypatch):
    env = make(micro_folder, 2)
    env.reset(seed=0)
    env.step([0, 1, 2])
    before = env.disagreement

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(env._dreams._stepping, "imagine", fail)
    with pytest.raises(KeyboardInterrupt):
        env.step([3, 3, 3])
    np.testing.assert_array_equal(env.disagreement, before)


def test_what_is_handed_out_is_a_copy(micro_folder):
    env = make(micro_folder, 2)
    env.reset(seed=0)
    env.step([0, 1, 2])
    kept = env.disagreement
    env.disagreement[:] = 9
    np.testing.assert_array_equal(env.disagreement, kept)


def test_where_it_is_not_measured_it_is_not_there(micro_folder):
    with pytest.raises(AttributeError, match="disagreement_samples=2"):
        _ = make(micro_folder, 0).disagreement
    for wrong in (1, -1):
        with pytest.raises(ValueError, match="disagreement_samples"):
            make(micro_folder, wrong)
    with pytest.raises(ValueError, match="denoising_steps = 2"):
        Disagreement(2, (1, 2, 2), torch.device("cpu"), denoising_steps=1, most_steps=1)


def test_one_denoising_step_draws_nothing_in_the_shipped_checkpoint():
    """Why the draws take two: in one, the noise hardly matters."""
    env = DreamVectorEnv(2, observation="latent", starts="clips", disagreement_samples=2)
    env.reset(seed=0)
    spreads = []
    for _ in range(3):
        env.step([1, 2])
        measure = env._dreams._disagreement
        once = Disagreement(2, env._dreams._latent_shape, torch.device("cpu"), 1, 8)
        once._steps = 1
        given = env._dreams._stepping, env._dreams._memory, torch.tensor([1, 3])
        spreads.append([float(each.measure(*given).mean()) for each in (once, measure)])
    mean, drawn = np.mean(spreads, 0)
    assert mean < 0.06
    assert 0.1 < drawn < 0.6
