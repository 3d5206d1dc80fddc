"""The agent that ships with wmgym fits the world model that does, and acts by what it sees."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch
from gymnasium.vector import AutoresetMode

import wmgym  # noqa: F401  (registers the ids)
from agents.named_policies import named_policy
from agents.policy_prior import prior_of
from agents.pretrained import PRETRAINED, WEIGHTS_FILE, folder_of, load_pretrained, load_weights, save_weights
from agents.sb3 import load_learner, make_ppo
from agents.training_folder import read_training
from wmgym.checkpoint import fingerprint


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_belongs_to_the_shipped_world_model(name):
    assert read_training(PRETRAINED[name])["config"]["world_model"] == fingerprint()
    policy = named_policy(name, bursts=0.0, world_model=fingerprint())
    assert policy.name == name
    mixed = named_policy(f"{name}@0.5", bursts=0.0, world_model=fingerprint())
    assert mixed.name == f"{name}@0.5"
    assert mixed.decides["bursts"] > 0


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_is_paid_more_in_short_dreams_than_chance(name):
    """Of 16 steps from recorded clips, most of which are shortly before a reward; the first one counts."""
    paid = []
    for policy in (name, "random-with-bursts"):
        acting = named_policy(policy, bursts=0.02, world_model=fingerprint())
        envs = gymnasium.make_vec("LSSVWM-MemoryMaze-v0", 32, observation="features", starts="clips")
        seen, _ = envs.reset(seed=0)
        made, first, rewards = acting.make(envs.single_action_space, 0), np.ones(32, bool), np.zeros(32)
        for _ in range(16):
            seen, reward, *_ = envs.step(made.act(seen, first))
            first[:], rewards = False, np.maximum(rewards, reward)
        envs.close()
        paid.append(rewards.mean())
    assert paid[0] > paid[1] + 0.2


@pytest.mark.parametrize("name", PRETRAINED)
def test_it_can_lead_a_tree(name):
    prior = prior_of(load_pretrained(name))
    found = prior(np.random.default_rng(0).normal(size=(5, 512)).astype(np.float32))
    assert found.shape == (5, 6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_weights_make_the_same_actor_and_draw_nothing(tmp_path):
    kwargs = {"autoreset_mode": AutoresetMode.SAME_STEP}
    learner = make_ppo(gymnasium.make_vec("CartPole-v1", 2, "sync", vector_kwargs=kwargs), seed=3)
    save_weights(learner, tmp_path / WEIGHTS_FILE)
    before = torch.get_rng_state()
    loaded = load_learner(tmp_path / WEIGHTS_FILE, "ppo")
    assert torch.equal(torch.get_rng_state(), before)
    seen = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    np.testing.assert_array_equal(prior_of(loaded)(seen), prior_of(learner)(seen))
    assert loaded.observation_space.shape == (4,)
    assert loaded.action_space == learner.action_space


def test_what_holds_no_actor_is_named(tmp_path):
    file = tmp_path / WEIGHTS_FILE
    with pytest.raises(FileNotFoundError, match=r"policy\.safetensors: no such file"):
        load_weights(file)
    whole = (PRETRAINED["pretrained-clone"] / WEIGHTS_FILE).read_bytes()
    file.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match=r"policy\.safetensors: cannot be read .* install wmgym again"):
        load_weights(file)
    for part in ("mlp_extractor.policy_net.0.weight", "action_net.weight", "action_net.bias"):
        weights = safetensors.torch.load(whole)
        del weights[part]
        safetensors.torch.save_file(weights, file)
        with pytest.raises(ValueError, match=r"policy\.safetensors: cannot be read"):
            load_weights(file)
    with pytest.raises(ValueError, match="name = 'nobody', expected one of 'pretrained-clone'"):
        load_pretrained("nobody")


def test_names_stand_for_folders():
    assert folder_of("pretrained-clone") == PRETRAINED["pretrained-clone"]
    assert folder_of("runs/clone") == Path("runs/clone")
