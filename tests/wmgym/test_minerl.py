"""The adapter on a stand-in with MineRL's recorded interface (see `fake_minerl`), and without MineRL."""

import sys
import types
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.utils.env_checker import check_env

from tests.wmgym.fake_minerl import FakeMineRL
from tests.wmgym.minerl_interface import recorded
from wmgym.errors import DependencyError, InvalidActionError
from wmgym.minerl import MineRLEnv
from wmgym.minerl_actions import ActionTable, TableAction
from wmgym.minerl_frames import to_square

SPECS = [(version, task) for version, tasks in recorded().items() for task in tasks if "VectorObf" not in task]
FORWARD = 1


def box_means(frame, size):
    """Each pixel the mean of those whose centres lie in the area it covers: the reference, pixel by pixel."""
    height, width = frame.shape[:2]
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    means = np.empty((size, size, 3))
    for y, x in np.ndindex(size, size):
        inside = [
            (low < centres) & (centres <= high)
            for low, high, centres in (
                (y * height / size, (y + 1) * height / size, rows),
                (x * width / size, (x + 1) * width / size, columns),
            )
        ]
        means[y, x] = frame[inside[0]][:, inside[1]].mean(axis=(0, 1))
    return means


@pytest.mark.parametrize("actions", ["table", "keys_and_camera"])
@pytest.mark.parametrize(("version", "task"), SPECS)
def test_gymnasiums_checker(version, task, actions):
    env = MineRLEnv(env=FakeMineRL(task, version), actions=actions, render_mode="rgb_array")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
    assert all("alternative render modes" in str(warning.message) for warning in caught)  # it was made without an id
    assert env.observation_space == Box(0, 255, (64, 64, 3), np.uint8)


def test_stable_baselines3s_checker():
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gymnasium.wrappers.TimeLimit(MineRLEnv(env=FakeMineRL()), 5)
    checker.check_env(env)


@pytest.mark.parametrize(("version", "task"), SPECS)
def test_every_action_that_is_sent_is_minerls(version, task):
    """The stand-in refuses any dictionary with a key too many, a key too few or a value outside."""
    fake = FakeMineRL(task, version)
    env = MineRLEnv(env=fake)
    env.reset(seed=0)
    for action in range(18):
        env.step(action)
    assert len(fake.sent) == 18
    assert fake.sent[3]["forward"] == fake.sent[3]["attack"] == 1
    assert fake.sent[8]["camera"].tolist() == [0.0, -10.0]
    assert all(sent[key] == "none" for sent in fake.sent for key in ("place", "craft", "equip") if key in sent)
    assert all(sent.get("ESC", 0) == 0 for sent in fake.sent)


def test_frames_are_minerls_pixel_by_pixel_where_the_size_is_the_same():
    fake, twin = FakeMineRL(), FakeMineRL()
    env = MineRLEnv(env=fake, render_mode="rgb_array")
    frame, _ = env.reset(seed=3)
    twin.seed(3)
    np.testing.assert_array_equal(frame, twin.reset()["pov"])
    assert frame.flags.c_contiguous
    frame, reward, *_ = env.step(FORWARD)
    pressed = {**twin.action_space.no_op(), "forward": 1}
    np.testing.assert_array_equal(frame, twin.step(pressed)[0]["pov"])
    np.testing.assert_array_equal(env.render(), frame)
    assert reward == 1.0


def test_wide_frames_are_averaged_over_areas():
    fake = FakeMineRL("MineRLBasaltFindCave-v0", "minerl 1.0.2")
    env = MineRLEnv(env=fake, render_mode="rgb_array")
    frame, _ = env.reset(seed=0)
    assert env.render().shape == (360, 640, 3)
    assert np.abs(frame - box_means(env.render(), 64)).max() <= 1.01  # rounded in each direction
    assert MineRLEnv(env=fake, frame_size=32).reset(seed=0)[0].shape == (32, 32, 3)


def test_seeds_go_to_minerl_each_reset():
    fake = FakeMineRL()
    env = MineRLEnv(env=fake)
    first, _ = env.reset(seed=7)
    second, _ = env.reset()
    again, _ = env.reset(seed=7)
    env.reset()
    assert fake.world_seeds[0] == fake.world_seeds[2] == 7
    assert fake.world_seeds[1] == fake.world_seeds[3] != 7  # the next world is the generator's, and so reproducible
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    env.reset(seed=2**70)
    assert 0 <= fake.world_seeds[-1] < 2**63


def test_without_a_seed_each_environment_has_its_own_worlds():
    seeds = set()
    for _ in range(3):
        fake = FakeMineRL()
        MineRLEnv(env=fake).reset()
        seeds |= set(fake.world_seeds)
    assert len(seeds) == 3
    assert None not in seeds


def steps_to_the_end(env):
    env.reset(seed=0)
    for count in range(1, 10_000):
        _, _, terminated, truncated, info = env.step(0)
        if terminated or truncated:
            return count, terminated, truncated, info
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("limit", "done_at", "ends"),
    [
        (10, None, (10, False, True)),  # gym's limit
        (10, 4, (4, True, False)),  # solved
        (10, 9, (9, True, False)),
        (10, 10, (10, False, True)),  # done in the very step of the limit: gym calls that no truncation
        (1000, 985, (985, True, False)),
        (1000, 990, (990, False, True)),  # Minecraft's clock
        (2400, 2379, (2379, True, False)),
        (2400, 2380, (2380, False, True)),
    ],
)
def test_ends_by_themselves_and_by_time(limit, done_at, ends):
    env = MineRLEnv(env=FakeMineRL(limit=limit, events={done_at: "done"}))
    assert steps_to_the_end(env)[:3] == ends
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    env.step(0)


def test_a_lost_connection_is_no_end_of_the_task():
    env = MineRLEnv(env=FakeMineRL(events={3: "error"}))
    env.reset(seed=0)
    env.step(FORWARD)
    last, *_ = env.step(FORWARD)
    frame, reward, terminated, truncated, info = env.step(FORWARD)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["error"] == "Connection timed out!"
    np.testing.assert_array_equal(frame, last)  # not the noise that MineRL shows then
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_information_has_the_rest_of_what_minerl_shows():
    env = MineRLEnv(env=FakeMineRL("MineRLNavigate-v0"))
    _, info = env.reset(seed=0)
    assert set(info) == {"compass"}
    *_, info = env.step(13)
    assert info["compass"]["angle"] == 10.0
    assert info["location_stats"] == {"xpos": 1.0}


def test_frames_belong_to_the_caller():
    env = MineRLEnv(env=FakeMineRL(), render_mode="rgb_array")
    frame, _ = env.reset(seed=0)
    frame[:] = 0
    env.render()[:] = 0
    assert env.render().any()


@pytest.mark.parametrize("action", [18, -1, None, 0.5])
def test_bad_actions_step_nothing(action):
    fake = FakeMineRL()
    env = MineRLEnv(env=fake)
    env.reset()
    with pytest.raises(InvalidActionError):
        env.step(action)
    assert fake.sent == []


def test_before_the_first_reset():
    env = MineRLEnv(env=FakeMineRL(), render_mode="rgb_array")
    with pytest.raises(ResetNeeded):
        env.step(0)
    with pytest.raises(ResetNeeded):
        env.render()


def test_closing_twice_closes_once():
    fake = FakeMineRL()
    env = MineRLEnv(env=fake)
    env.close()
    env.close()
    assert fake.closed == 1


def test_spaces_by_name_and_by_table():
    assert MineRLEnv(env=FakeMineRL()).action_space == Discrete(18)
    assert MineRLEnv(env=FakeMineRL(), actions="keys_and_camera").action_space == MultiDiscrete([3, 3, 2, 2, 7, 11])
    own = ActionTable([TableAction(), TableAction(("use",))])
    with pytest.raises(ValueError, match=r"has no use.*attack, back"):
        MineRLEnv(env=FakeMineRL(), actions=own)
    assert MineRLEnv(env=FakeMineRL("MineRLBasaltFindCave-v0"), actions=own).action_space == Discrete(2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"actions": "keys"}, "expected 'table'"),
        ({"frame_size": 65}, "at most 64"),
        ({"frame_size": 0}, "at least 1"),
        ({"render_mode": "human"}, "render_mode"),
        ({"env": FakeMineRL("MineRLTreechopVectorObf-v0")}, "without VectorObf"),
        ({"env": gymnasium.make("CartPole-v1")}, "expected an environment of MineRL's"),
    ],
)
def test_arguments_that_do_not_fit(arguments, words):
    with pytest.raises(ValueError, match=words):
        MineRLEnv(**{"env": FakeMineRL(), **arguments})


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 4), (63, 64, 3)])
def test_frames_that_are_none(shape):
    with pytest.raises(ValueError, match="expected uint8"):
        to_square(np.zeros(shape, np.uint8), 64)


def test_without_minerl_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "minerl", None)
    with pytest.raises(DependencyError, match=r"minerl==0\.4\.4.*JDK 8"):
        gymnasium.make("wmgym/MineRL-v0", task="MineRLNavigate-v0")


def test_the_id_makes_minerls_environment(monkeypatch):
    """With stand-ins for the modules `minerl` and `gym`."""

    class GymError(Exception):
        pass

    def make(task):
        if task not in recorded()["minerl 0.4.4"]:
            raise GymError(f"No registered env with id: {task}")
        return FakeMineRL(task)

    gym = types.SimpleNamespace(make=make, error=types.SimpleNamespace(Error=GymError))
    monkeypatch.setitem(sys.modules, "minerl", types.ModuleType("minerl"))
    monkeypatch.setitem(sys.modules, "gym", gym)
    with gymnasium.make("wmgym/MineRL-v0", task="MineRLNavigate-v0", frame_size=32) as env:
        assert env.reset(seed=1)[0].shape == (32, 32, 3)
        assert "place" in env.unwrapped._env.action_space.spaces
    with gymnasium.make("wmgym/MineRL-v0") as env:
        assert env.observation_space.shape == (64, 64, 3)
    with pytest.raises(ValueError, match="expected an id of MineRL's"):
        gymnasium.make("wmgym/MineRL-v0", task="MineRLFly-v0")


def test_a_world_model_observes_it_as_it_observes_the_maze(micro):
    """Six actions, as the micro checkpoint has them."""
    from wmgym.wrappers import WorldModelObservation

    env = WorldModelObservation(
        MineRLEnv(env=FakeMineRL(limit=4), actions=ActionTable([*ActionTable().actions[:6]])), micro
    )
    shown, _ = env.reset(seed=0)
    assert shown in env.observation_space
    later, _, terminated, truncated, _ = env.step(FORWARD)
    assert not np.array_equal(shown, later)
    for _ in range(3):
        *_, terminated, truncated, _ = env.step(5)
    assert (terminated, truncated) == (False, True)
