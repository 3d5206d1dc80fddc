"""The agent that ships with wmgym fits the world model that does, and acts by what it sees."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch
from gymnasium.vector import AutoresetMode

import wmgym  # noqa: F401  (registers the ids)
from agents.named_policies import named_policy, weights_that_act
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


def test_what_is_no_plain_actor_is_not_saved(tmp_path):
    kwargs = {"autoreset_mode": AutoresetMode.SAME_STEP}
    env = gymnasium.make_vec("CartPole-v1", 2, "sync", vector_kwargs=kwargs)
    for more, told in (
        ({"recurrent": True, "policy_kwargs": {"lstm_hidden_size": 4}}, "lstm_actor"),
        ({"policy_kwargs": {"activation_fn": torch.nn.ReLU}}, "with ReLU given"),
    ):
        with pytest.raises(ValueError, match=f"{told}.*expected SB3's MlpPolicy of tanh layers"):
            save_weights(make_ppo(env, seed=0, **more), tmp_path / WEIGHTS_FILE)
    learner = make_ppo(env, seed=0)
    with torch.no_grad():
        learner.policy.action_net.bias[0] = torch.nan
    save_weights(learner, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="not all weights are finite"):
        load_weights(tmp_path / WEIGHTS_FILE)


def test_it_is_to_act_only():
    with pytest.raises(RuntimeError, match=r"asked to learn, expected to act only.*--start-from"):
        load_pretrained("pretrained-clone").learn(4)


def test_it_is_the_same_policy_whenever_it_is_loaded():
    known = []
    for _ in range(2):
        known.append(named_policy("pretrained-clone", bursts=0.1, world_model=fingerprint()).decides)
        torch.randn(3)
    assert known[0] == known[1]


def test_a_critic_does_not_tell_policies_apart_and_an_actor_does():
    learner = load_pretrained("pretrained-clone")
    before = weights_that_act(learner)
    with torch.no_grad():
        learner.policy.value_net.bias += 1
        learner.policy.mlp_extractor.value_net[0].weight += 1
    assert weights_that_act(learner) == before
    with torch.no_grad():
        learner.policy.action_net.bias[0] += 1
    assert weights_that_act(learner) != before


def test_a_folder_of_the_same_name_is_not_mixed_up_with_it(tmp_path, monkeypatch):
    (tmp_path / "pretrained-clone").mkdir()
    monkeypatch.chdir(tmp_path)
    for place in ("pretrained-clone", Path("./pretrained-clone")):
        with pytest.raises(ValueError, match=r"ships with wmgym and lies here, too. Fix: give the whole path"):
            folder_of(place)
    whole = tmp_path / "pretrained-clone"
    assert folder_of(whole) == whole


def test_names_stand_for_folders():
    assert folder_of("pretrained-clone") == PRETRAINED["pretrained-clone"]
    assert folder_of("runs/clone") == Path("runs/clone")
