"""The SB3 glue: SB3's own vector environment, step for step, and PPO learns right values through it."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from agents.evaluate import evaluate
from agents.grid_extractor import GridExtractor
from agents.sb3 import SB3Policy, load_ppo, make_ppo
from agents.sb3_vec_env import SB3VecEnv
from tests.agents.identity_world import SAME_STEP, BatchedWorld, Grids


def cartpoles(count, limit=15):
    return [lambda: gymnasium.make("CartPole-v1", max_episode_steps=limit) for _ in range(count)]


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key in ours:
        np.testing.assert_array_equal(ours[key], theirs[key])


def test_cartpole_is_that_of_dummy_vec_env_step_for_step():
    ours = SB3VecEnv(gymnasium.make_vec(
        "CartPole-v1", 3, "sync", {"autoreset_mode": SAME_STEP}, max_episode_steps=15,
    ))  # fmt: skip
    theirs = DummyVecEnv(cartpoles(3))
    assert ours.seed(7) == theirs.seed(7)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    rng = np.random.default_rng(0)
    ends = {True: 0, False: 0}
    for _ in range(120):
        actions = rng.integers(2, size=3)
        (obs, rewards, dones, infos), expected = ours.step(actions), theirs.step(actions)
        for mine, wanted in zip((obs, rewards, dones), expected[:3], strict=True):
            np.testing.assert_array_equal(mine, wanted)
            assert mine.dtype == wanted.dtype
        for i in range(3):
            assert_same(infos[i], expected[3][i])
            if dones[i]:
                ends[infos[i]["TimeLimit.truncated"]] += 1
    assert min(ends.values()) > 5  # both kinds of end were met


def test_information_stays_with_the_episode_it_belongs_to():
    class Telling(gymnasium.Wrapper):
        def reset(self, **kwargs):
            return self.env.reset(**kwargs)[0], {"began": 1}

        def step(self, action):
            *rest, _ = self.env.step(action)
            return *rest, {"action": int(action), "nested": {"deep": np.array([action, 2])}}

    makers = [lambda: Telling(gymnasium.make("CartPole-v1", max_episode_steps=4)) for _ in range(2)]
    ours, theirs = SB3VecEnv(SyncVectorEnv(makers, autoreset_mode=SAME_STEP)), DummyVecEnv(makers)
    ours.reset(), theirs.reset()
    for step in range(9):
        actions = np.array([step % 2, 0])
        infos, expected = ours.step(actions)[3], theirs.step(actions)[3]
        for i in range(2):
            np.testing.assert_array_equal(infos[i].pop("nested")["deep"], expected[i].pop("nested")["deep"])
            infos[i].pop("terminal_observation", None), expected[i].pop("terminal_observation", None)
            assert infos[i] == expected[i]
            assert ours.reset_infos[i] == theirs.reset_infos[i] == {"began": 1}


def test_what_is_handed_out_is_never_overwritten():
    env = SB3VecEnv(BatchedWorld(num_envs=3))
    first = env.reset()
    kept = first.copy()
    for _ in range(12):
        last, rewards, dones, _ = env.step(np.zeros(3, dtype=int))
        assert isinstance(last, np.ndarray)
        assert rewards.dtype == np.float32
        assert dones.dtype == np.bool_
    np.testing.assert_array_equal(first, kept)


def test_episode_statistics_count_the_last_reward():
    env = VecMonitor(SB3VecEnv(BatchedWorld(num_envs=2, limit=5, endless=True)))
    env.reset()
    for _ in range(5):
        infos = env.step(np.zeros(2, dtype=int))[3]
    assert [(info["episode"]["r"], info["episode"]["l"]) for info in infos] == [(5.0, 5), (5.0, 5)]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED, None])
def test_other_autoreset_modes_are_refused_with_the_fix(mode):
    env = BatchedWorld()
    env.metadata = {"autoreset_mode": mode}
    with pytest.raises(ValueError, match=r"(?s)expected AutoresetMode.SAME_STEP.*vector_kwargs="):
        SB3VecEnv(env)


def test_options_go_to_the_next_reset_once():
    world = BatchedWorld(num_envs=2)
    env = SB3VecEnv(world)
    env.set_options({"context": None})
    env.reset()
    assert world.options == {"context": None}
    env.reset()
    assert world.options is None
    env.set_options([{"a": 1}, {"a": 2}])
    with pytest.raises(ValueError, match="one dictionary"):
        env.reset()


def test_attributes_and_methods_of_an_environment_stepped_as_one():
    env = SB3VecEnv(BatchedWorld(num_envs=3))
    assert env.get_attr("limit", indices=[0, 2]) == [5, 5]
    assert not env.has_attr("nothing")
    env.set_attr("limit", 9)
    assert env.get_attr("limit", 1) == [9]
    assert env.env_method("double", 4) == [8, 8, 8]
    assert env.env_is_wrapped(Monitor) == [False] * 3
    assert env.render().shape == (8, 8, 3)  # tiled two by two
    for call in (lambda: env.set_attr("limit", 1, 0), lambda: env.env_method("double", 1, indices=[0])):
        with pytest.raises(ValueError, match="only be asked as a whole"):
            call()


def test_attributes_and_methods_of_single_environments():
    makers = [lambda: Monitor(gymnasium.make("CartPole-v1")), *cartpoles(1)]
    env = SB3VecEnv(SyncVectorEnv(makers, autoreset_mode=SAME_STEP))
    env.set_attr("force_mag", 3.0, indices=1)
    assert env.get_attr("force_mag") == [10.0, 3.0]
    env.seed(0)
    env.reset()
    assert len(env.env_method("get_wrapper_attr", "gravity", indices=[1])) == 1
    assert env.env_is_wrapped(Monitor) == [True, False]


def endless_value(adapter_class):
    """Train PPO on a reward of 1 for ever, cut into episodes of 5 steps; return the value it learns."""
    env = adapter_class(BatchedWorld(num_envs=8, symbols=2, limit=5, endless=True))
    settings = {"n_steps": 20, "batch_size": 160, "n_epochs": 15, "gamma": 0.9, "learning_rate": 0.03}
    model = PPO("MlpPolicy", env, seed=0, vf_coef=1.0, device="cpu", policy_kwargs={"net_arch": [8]}, **settings)
    model.learn(8 * 20 * 20)
    with torch.no_grad():
        return float(model.policy.predict_values(torch.zeros(1, 2)))


class Forgetful(SB3VecEnv):
    """What the adapter would be if it dropped `TimeLimit.truncated`."""

    def step_wait(self):
        *rest, infos = super().step_wait()
        for info in infos:
            del info["TimeLimit.truncated"]
        return *rest, infos


@pytest.mark.learns
def test_an_endless_unit_reward_is_worth_one_over_one_minus_gamma():
    assert endless_value(SB3VecEnv) == pytest.approx(10.0, rel=0.05)
    assert endless_value(Forgetful) < 5.0  # episodes of 5 steps look like ends of the world


@pytest.mark.learns
def test_an_identity_task_is_learned():
    settings = {"n_steps": 32, "batch_size": 64, "learning_rate": 5e-3, "gamma": 0.5}
    model = make_ppo(BatchedWorld(), seed=0, policy_kwargs={"net_arch": [32]}, **settings)
    model.learn(8 * 32 * 12)
    assert np.mean(evaluate(SB3Policy(model, seed=1), BatchedWorld(), episodes=32, seed=3).returns) > 4.5  # of 5


@pytest.mark.parametrize("recurrent", [False, True])
def test_grids_are_looked_at_by_convolutions_whatever_else_is_asked_for(recurrent):
    model = make_ppo(Grids(), seed=0, recurrent=recurrent, n_steps=8, policy_kwargs={"net_arch": [7]})
    assert isinstance(model.policy.features_extractor, GridExtractor)
    assert model.policy.action_net.in_features == 7
    with pytest.raises(ValueError, match=r"expected a float Box \[channels height width\]"):
        GridExtractor(gymnasium.spaces.Box(0, 255, (5, 8, 6), np.uint8))


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_saved_policy_acts_as_it_did(recurrent, tmp_path):
    model = make_ppo(BatchedWorld(), seed=0, recurrent=recurrent, n_steps=8)
    model.learn(8 * 8)
    model.save(tmp_path / "policy.zip")
    loaded = load_ppo(tmp_path / "policy.zip", recurrent=recurrent)
    first, second = (evaluate(SB3Policy(each, seed=1), BatchedWorld(), episodes=16, seed=3) for each in (model, loaded))
    assert first == second


def test_a_policy_draws_from_its_own_generator():
    model = make_ppo(BatchedWorld(), seed=0)
    observations, is_first = np.zeros((50, 4), np.float32), np.ones(50, dtype=bool)
    before = torch.get_rng_state()
    first, second = SB3Policy(model, seed=1), SB3Policy(model, seed=1)
    drawn = [first.act(observations, is_first) for _ in range(2)]
    torch.rand(3)
    np.testing.assert_array_equal(drawn[0], second.act(observations, is_first))
    assert (drawn[0] != drawn[1]).any()
    torch.set_rng_state(before)
    first.act(observations, is_first)
    torch.testing.assert_close(torch.get_rng_state(), before)
    likeliest = SB3Policy(model, seed=1, deterministic=True).act(observations, is_first)
    assert len(set(likeliest.tolist())) == 1


def test_images_get_a_convolutional_network():
    class Picture(BatchedWorld):
        def __init__(self):
            super().__init__(num_envs=2)
            self.single_observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)

        def show(self):
            return np.zeros((2, 64, 64, 3), np.uint8)

    for recurrent, name in ((False, "ActorCriticCnnPolicy"), (True, "RecurrentActorCriticCnnPolicy")):
        model = make_ppo(Picture(), seed=0, recurrent=recurrent, n_steps=8)
        assert type(model.policy).__name__ == name
        actions = SB3Policy(model, seed=0).act(np.zeros((2, 64, 64, 3), np.uint8), np.ones(2, dtype=bool))
        assert actions.shape == (2,)
