"""What comes after a frame, learned from walks: closed forms, a planner that is led by it, files that are damaged."""

import json

import numpy as np
import pytest
import torch

from agents.critic_folder import load_critic, save_critic
from agents.discrete_plans import CategoricalCEM
from agents.mpc import MPCAgent, MPCConfig
from agents.return_critic import CriticSettings, explained_variance, fit_critic
from agents.returns_to_come import known_frames, returns_to_come
from tests.agents.branching_worlds import BranchingMaze, distances, next_cells
from tests.agents.test_mpc import FAR, by_goal, run, states_of

SMALL = {"hidden": 64, "epochs": 6, "batch": 128, "dropout": 0.0, "weight_decay": 0.0, "learning_rate": 1e-2}
KNOWN = {"discount": 0.9, "observation": "features", "world_model": "abc"}


def ring(episodes, frames, cells, seed):
    """Walks around a ring, a cell a step, from anywhere: `(one-hot cells, rewards)`, 1 for each arrival at cell 0."""
    starts = np.random.default_rng(seed).integers(cells, size=(episodes, 1))
    places = (starts + np.arange(frames)) % cells
    return np.eye(cells, dtype=np.float16)[places], (places == 0).astype(np.float32)


def test_rewards_to_come_are_discounted_from_the_next_frame_on():
    rewards = np.array([[8.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 4.0]])
    np.testing.assert_allclose(returns_to_come(rewards, 0.5), [[1.0, 2.0, 2.0, 0.0], [1.0, 2.0, 4.0, 0.0]])
    np.testing.assert_allclose(returns_to_come(rewards, 0.0)[:, :3], rewards[:, 1:])


@pytest.mark.parametrize("discount", [0.5, 0.9, 0.97])
def test_frames_with_too_little_recorded_after_them_are_left_out(discount):
    """An endless reward of 1 a step is worth 1 / (1 - discount): 5 % of it may be missing, and no more."""
    known = known_frames(200, discount)
    missing = 1 - returns_to_come(np.ones((1, 200)), discount)[0] * (1 - discount)
    assert missing[known - 1] <= 0.05 < missing[known]
    with pytest.raises(ValueError, match=rf"episodes of 4 frames and discount = {discount} given.*longer episodes"):
        known_frames(4, discount)
    with pytest.raises(ValueError, match=r"discount = 1\.0"):
        known_frames(1000, 1.0)


def test_it_learns_what_a_ring_is_worth():
    """From a cell that is `k` steps away, `d^(k-1) / (1 - d^n)`; what is never seen explains nothing."""
    cells, discount = 6, 0.8
    seen, rewards = ring(40, 60, cells, seed=0)
    known = known_frames(60, discount)
    critic = fit_critic(
        CriticSettings((cells,), **SMALL), seen[:, :known], returns_to_come(rewards, discount)[:, :known], seed=0
    )
    away = np.array([cells, *range(cells - 1, 0, -1)])
    exact = discount ** (away - 1) / (1 - discount**cells)
    np.testing.assert_allclose(critic.values(np.eye(cells)), exact, atol=0.06)
    unseen, later = ring(10, 60, cells, seed=1)
    returns = returns_to_come(later, discount)[:, :known]
    assert explained_variance(critic, unseen[:, :known], returns) > 0.97
    assert explained_variance(critic, unseen[:, 1 : known + 1], returns) < 0.5  # one step off


def test_it_leads_a_planner_to_what_is_out_of_its_sight():
    """From random walks in a maze: goals 6 to 9 steps away, plans of 4. Without a critic hardly one is reached soon."""
    to, eye, rng = next_cells(), np.eye(25, dtype=np.float32), np.random.default_rng(0)
    taken = {True: 0, False: 0}
    for goal, starts in by_goal([FAR[0], FAR[3], FAR[5]]).items():
        free = np.flatnonzero(np.isfinite(distances(goal)))
        cells = np.empty((60, 150), np.int64)
        cells[:, 0] = rng.choice(free, 60)
        for t in range(1, 150):  # after the goal, from anywhere
            again = cells[:, t - 1] == goal
            cells[:, t] = np.where(again, rng.choice(free, 60), to[cells[:, t - 1], rng.integers(4, size=60)])
        returns = returns_to_come((cells == goal).astype(float), 0.95)[:, :80]
        critic = fit_critic(CriticSettings((25,), **SMALL | {"batch": 480}), eye[cells[:, :80]], returns, seed=0)
        for with_critic in (True, False):
            acting, scratch = BranchingMaze(len(starts), starts, goal), BranchingMaze(128, 0, goal)
            search, config = CategoricalCEM(128, 2, repeat=0.0), MPCConfig(4, discount=0.95)
            agent = MPCAgent(
                scratch, search, config, seed=0, root=states_of(acting),
                critic=(lambda c, net=critic: net.values(eye[c[:, 0].astype(int)])) if with_critic else None,
            )  # fmt: skip
            steps, _ = run(agent, acting)
            taken[with_critic] += (steps - distances(goal)[starts]).sum()
    assert taken[True] <= 6
    assert taken[False] > 20


def test_grids_get_convolutions_and_dropout_is_off_when_asked_for_values():
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(4, 50, 2, 4, 4)).astype(np.float16)
    returns = seen[:, :, 0].astype(float).mean(axis=(2, 3))
    settings = CriticSettings((2, 4, 4), hidden=32, dropout=0.2, epochs=15, batch=40)
    critic = fit_critic(settings, seen, returns, seed=0)
    assert explained_variance(critic, seen, returns) > 0.5
    critic.train()
    np.testing.assert_array_equal(critic.values(seen[0]), critic.values(seen[0]))
    assert critic.training
    with pytest.raises(ValueError, match=r"shape \(50, 32\) given, expected \[b, 2, 4, 4\]"):
        critic.values(seen[0].reshape(50, -1))


def test_the_same_seed_gives_the_same_critic_and_no_other_chance_is_used():
    seen, rewards = ring(4, 30, 5, seed=0)
    returns, settings = returns_to_come(rewards, 0.5), CriticSettings((5,), hidden=8, epochs=1)
    before = torch.get_rng_state()
    first, second, other = (fit_critic(settings, seen, returns, seed=seed).values(np.eye(5)) for seed in (0, 0, 1))
    assert torch.get_rng_state().equal(before)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


def test_what_cannot_be_learned_from_is_refused():
    seen, rewards = ring(4, 30, 5, seed=0)
    with pytest.raises(ValueError, match=r"shape \(4, 30, 5\) given, expected \(4, 29, 5\)"):
        fit_critic(CriticSettings((5,)), seen, rewards[:, :29].astype(float), seed=0)
    with pytest.raises(FloatingPointError, match="not finite"):
        fit_critic(CriticSettings((5,)), np.where(seen == 1, np.inf, seen), rewards.astype(float), seed=0)
    with pytest.raises(ValueError, match=r"dropout = 1\.0, expected a share"):
        CriticSettings((5,), dropout=1.0)
    with pytest.raises(ValueError, match="epochs = 0, expected a whole number"):
        CriticSettings((5,), epochs=0)


@pytest.mark.parametrize("shape", [(5,), (2, 4, 4)])
def test_a_critic_is_written_and_read(shape, tmp_path):
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(2, 20, *shape))
    critic = fit_critic(CriticSettings(shape, hidden=8, epochs=1), seen, rng.random((2, 20)), seed=0)
    save_critic(tmp_path / "new" / "critic", critic, KNOWN)
    read, known = load_critic(tmp_path / "new" / "critic", "abc")
    np.testing.assert_array_equal(read.values(seen[0]), critic.values(seen[0]))
    assert known == KNOWN
    assert {path.name for path in (tmp_path / "new" / "critic").iterdir()} == {"critic.json", "critic.safetensors"}


def test_critics_that_are_missing_damaged_or_of_another_model_are_named(tmp_path):
    seen, rewards = ring(2, 20, 5, seed=0)
    critic = fit_critic(CriticSettings((5,), hidden=8, epochs=1), seen, rewards.astype(float), seed=0)
    with pytest.raises(FileNotFoundError, match=r"there is no critic\.json in it"):
        load_critic(tmp_path, "abc")
    save_critic(tmp_path, critic, KNOWN)
    with pytest.raises(ValueError, match=r"another world model.*weights abc.*now \(xyz\)"):
        load_critic(tmp_path, "xyz")
    whole = (tmp_path / "critic.safetensors").read_bytes()
    (tmp_path / "critic.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot be read .* Train it again"):
        load_critic(tmp_path, "abc")
    (tmp_path / "critic.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no"):
        load_critic(tmp_path, "abc")
    (tmp_path / "critic.safetensors").write_bytes(whole)
    for change in ({"discount": None}, {"settings": {"shape": [6], "hidden": 8}}, {"settings": {"width": 3}}):
        save_critic(tmp_path, critic, KNOWN)
        told = json.loads((tmp_path / "critic.json").read_text()) | change
        (tmp_path / "critic.json").write_text(json.dumps(told))
        with pytest.raises(ValueError, match=r"cannot be read"):
            load_critic(tmp_path, "abc")
