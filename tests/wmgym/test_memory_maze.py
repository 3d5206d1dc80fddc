"""The real Memory Maze: equal to the stock package, true to seeds, accepted by both checkers."""

import subprocess
import sys
import time
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

from agents.walkers import StickyWalker, TargetSeeker
from wmgym.errors import WmgymError
from wmgym.memory_maze import SIZES, MemoryMazeEnv

pytest.importorskip("dm_control")

TOUCH_CELLS = 0.39  # target of 0.6 m at floor level, ball of 0.2 m, cells of 2 m


@pytest.fixture(scope="module")
def maze():
    """A 9x9 maze with global observables, shared because opening one takes a second."""
    env = MemoryMazeEnv(global_observables=True)
    yield env
    env.close()


def make_stock(size, seed, **variant):
    from wmgym.memory_maze_setup import import_memory_maze_tasks

    tasks = import_memory_maze_tasks()
    return getattr(tasks, f"memory_maze_{size}")(seed=seed, global_observables=True, **variant)


def assert_same_episode(size, seed, walker, steps, **variant):
    """Walk in the stock maze and in ours at the same time; return the sum of rewards."""
    env = MemoryMazeEnv(size, global_observables=True, **variant)
    stock = make_stock(size, seed, **variant)
    try:
        image, info = env.reset(seed=seed)
        timestep = stock.reset()
        total = 0.0
        for step in range(steps + 1):
            expected = timestep.observation
            np.testing.assert_array_equal(image, expected["image"], err_msg=f"image at step {step}")
            assert set(info) == set(expected) - {"image"}
            for key, value in info.items():
                np.testing.assert_array_equal(value, expected[key], err_msg=f"{key} at step {step}")
            if step == steps or timestep.last():
                return total
            action = walker(image, info)
            image, reward, terminated, truncated, info = env.step(action)
            timestep = stock.step(action)
            assert reward == timestep.reward, f"reward at step {step}"
            assert truncated == timestep.last()
            assert not terminated
            total += reward
    finally:
        stock.close()
        env.close()


@pytest.mark.parametrize(("seed", "rewards"), [(1, 3), (2, 1)])
def test_equals_stock_with_rewards(seed, rewards):
    seeker = TargetSeeker(np.random.default_rng(seed), noise=0.1)
    assert assert_same_episode("9x9", seed, seeker.act, steps=120) >= rewards


@pytest.mark.parametrize(
    "variant",
    [
        {"top_camera": True, "camera_resolution": 256, "good_visibility": True, "randomize_colors": True},
        {"show_path": True, "control_freq": 40.0, "target_color_in_image": False, "discrete_actions": False},
    ],
    ids=["discrete", "continuous"],
)
def test_variants_equal_stock(variant):
    rng = np.random.default_rng(3)

    def walk(image, info):
        return (
            int(rng.integers(6)) if variant.get("discrete_actions", True) else rng.uniform(-1, 1, 2).astype(np.float32)
        )

    assert_same_episode("9x9", 3, walk, steps=20, **variant)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "seed"), [("9x9", 11), ("9x9", 12), ("9x9", 13), ("11x11", 14)])
def test_whole_episodes_equal_stock(size, seed):
    rng = np.random.default_rng(seed)
    walker = StickyWalker(rng) if seed == 12 else TargetSeeker(rng, noise=0.2)
    total = assert_same_episode(size, seed, walker.act, steps=10_000)
    assert seed == 12 or total > 10


@pytest.mark.slow
def test_three_times_as_fast_as_stock():
    env, stock = MemoryMazeEnv(), make_stock("9x9", 5)
    env.reset(seed=5)
    stock.reset()
    rng = np.random.default_rng(5)
    seconds = np.zeros(2)
    for _ in range(10):  # in turns, so that a busy machine slows both alike
        actions = rng.integers(6, size=20)
        for index, step in enumerate((env.step, stock.step)):
            start = time.perf_counter()
            for action in actions:
                step(action)
            seconds[index] += time.perf_counter() - start
    env.close()
    stock.close()
    assert seconds[1] > 3 * seconds[0], f"ours {200 / seconds[0]:.0f}, stock {200 / seconds[1]:.0f} steps/s"


def test_rewards_come_at_the_touch_distance(maze):
    """With two packages from both sides of MuJoCo 3.9, this distance would be a whole cell."""
    image, info = maze.reset(seed=21)
    seeker = TargetSeeker(np.random.default_rng(21), noise=0.0)
    rewards = 0
    for _ in range(250):
        target, before = info["target_pos"], info["agent_pos"]
        image, reward, _, _, info = maze.step(seeker.act(image, info))
        distance = np.linalg.norm(info["agent_pos"] - target)
        assert (distance < TOUCH_CELLS) == (reward == 1)
        assert reward == 0 or np.linalg.norm(before - target) > TOUCH_CELLS - 0.02
        rewards += int(reward)
    assert rewards >= 3


def test_reward_comes_with_the_next_colour(maze):
    image, info = maze.reset(seed=22)
    seeker = TargetSeeker(np.random.default_rng(22), noise=0.0)
    events = 0
    for _ in range(150):
        border, colour = image[0, 0].copy(), info["target_color"]
        image, reward, _, _, info = maze.step(seeker.act(image, info))
        assert (not np.array_equal(image[0, 0], border)) == (reward == 1)
        assert (not np.array_equal(info["target_color"], colour)) == (reward == 1)
        events += int(reward)
    assert events >= 1


@pytest.mark.parametrize("variant", [{}, {"top_camera": True}], ids=["egocentric", "top"])
def test_culling_leaves_pixels_as_they_are(variant):
    env = MemoryMazeEnv(global_observables=True, **variant)
    image, info = env.reset(seed=23)
    renderer = env._stack._renderer
    radii = renderer._radii
    walker = TargetSeeker(np.random.default_rng(23), noise=0.3)
    drawn = []
    for _ in range(60):
        image, _, _, _, info = env.step(walker.act(image, info))
        drawn.append(renderer._in_view().mean())
        culled = renderer.render()
        renderer._radii = np.full_like(radii, np.inf)
        np.testing.assert_array_equal(culled, renderer.render())
        renderer._radii = radii
    env.close()
    if not variant:
        assert np.mean(drawn) < 0.7  # else there is nothing to test


def test_seed_decides_everything(maze):
    def rollout(seed):
        rng = np.random.default_rng(0)
        frames, layouts = [], []
        for reset_seed in (seed, None):
            image, info = maze.reset(seed=reset_seed)
            layouts.append(info["maze_layout"])
            frames.append(image)
            frames += [maze.step(int(rng.integers(6)))[0] for _ in range(8)]
        return np.stack(frames), layouts

    frames, layouts = rollout(31)
    again, _ = rollout(31)
    np.testing.assert_array_equal(frames, again)
    assert not np.array_equal(layouts[0], layouts[1])  # an unseeded reset goes on to another maze
    other, _ = rollout(32)
    assert not np.array_equal(frames, other)


def test_seeds_beyond_the_stock_range(maze):
    first, _ = maze.reset(seed=2**40 + 1)
    again, _ = maze.reset(seed=2**40 + 1)
    np.testing.assert_array_equal(first, again)


def test_ends_by_truncation_and_then_needs_reset():
    env = MemoryMazeEnv(control_freq=0.5)  # 125 steps of two seconds
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(0)
    env.reset(seed=0)
    ends = []
    for _ in range(125):
        _, _, terminated, truncated, info = env.step(1)
        ends.append((terminated, truncated))
    assert ends == [(False, False)] * 124 + [(False, True)]
    assert all(type(end) is bool for end in ends[-1])
    assert info == {}
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(0)
    env.close()


def test_info_holds_what_was_asked_for(maze):
    _, info = maze.reset(seed=41)
    shapes = {key: np.shape(value) for key, value in info.items()}
    assert shapes == {
        "agent_pos": (2,),
        "agent_dir": (2,),
        "targets_pos": (3, 2),
        "targets_vec": (3, 2),
        "target_pos": (2,),
        "target_vec": (2,),
        "target_color": (3,),
        "maze_layout": (9, 9),
    }
    x, y = info["agent_pos"].astype(int)
    assert info["maze_layout"][y, x] == 1


def test_bad_arguments_are_named(maze):
    maze.reset(seed=42)
    with pytest.raises(InvalidAction, match="Discrete"):
        maze.step(6)
    with pytest.raises(WmgymError):
        maze.step(-1)
    with pytest.raises(ValueError, match="7x7"):
        MemoryMazeEnv("7x7")
    with pytest.raises(ValueError, match="human"):
        MemoryMazeEnv(render_mode="human")
    with pytest.raises(ValueError, match="32"):
        MemoryMazeEnv(camera_resolution=32)


# Away from pytest: its type-checking hook would refuse the arguments before wmgym sees them.
WRONG_TYPES = """
from wmgym.memory_maze import MemoryMazeEnv

for name, values in {
    "control_freq": (-1, 1e9, 0, "4", None, float("nan"), 3.0, True),
    "camera_resolution": ("64", None, 64.5, 10**7, True),
}.items():
    for value in values:
        try:
            MemoryMazeEnv(**{name: value})
        except ValueError as error:
            assert f"{name} = {value!r} given, expected" in str(error), error
        else:
            raise AssertionError(f"accepted {name} = {value!r}")
"""


def test_arguments_of_the_wrong_type():
    done = run_python(WRONG_TYPES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("action", [True, 1.0, "1", None, [1], -1, 6], ids=repr)
def test_bad_actions_are_refused(maze, action):
    maze.reset(seed=42)
    with pytest.raises(InvalidAction, match="expected a whole number from 0 to 5"):
        maze.step(action)


def test_any_integer_is_an_action(maze):
    frames = []
    for action in (2, np.int64(2), np.array(2), pytest.importorskip("torch").tensor(2)):
        maze.reset(seed=42)
        frames.append(maze.step(action)[0])
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame, frames[0])


def test_continuous_actions_are_checked():
    env = MemoryMazeEnv(discrete_actions=False)
    env.reset(seed=0)
    for action in ("abc", [[1], [2, 3]], {}, None, [0.0], [0.0, 2.0], ["0", "1"], [float("nan"), 0.0]):
        with pytest.raises(InvalidAction, match="action"):
            env.step(action)
    env.step([1, 0])
    env.close()


def test_render_is_a_copy_of_the_last_frame():
    env = MemoryMazeEnv(render_mode="rgb_array")
    with pytest.raises(ResetNeeded):
        env.render()
    image, _ = env.reset(seed=43)
    picture = env.render()
    np.testing.assert_array_equal(picture, image)
    picture[:] = 0
    assert env.render().any()
    image[:] = 0
    assert env.render().any()
    env.close()
    assert MemoryMazeEnv().render() is None


@pytest.mark.parametrize(
    "size", ["9x9", *(pytest.param(size, marks=pytest.mark.slow) for size in SIZES if size != "9x9")]
)
def test_both_checkers_accept(size):
    stable_baselines3 = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gymnasium.make(f"wmgym/MemoryMaze-{size}-v0", render_mode="rgb_array")
    assert env.spec.max_episode_steps is None
    check_env(env.unwrapped, skip_close_check=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stable_baselines3.check_env(env.unwrapped)
    env.close()


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)


def test_importing_wmgym_is_cheap():
    code = (
        "import sys, wmgym; "
        "print([name for name in ('torch', 'dm_control', 'mujoco', 'memory_maze') if name in sys.modules])"
    )
    done = run_python(code)
    assert done.stdout.strip() == "[]", done.stderr


def test_no_noise_at_interpreter_exit():
    """No warnings at reset, no tracebacks from GL contexts that nobody closed, no stand-in left behind."""
    code = (
        "import sys, gymnasium, wmgym\n"
        "env = gymnasium.make('wmgym/MemoryMaze-9x9-v0')\n"
        "env.reset(seed=0); env.step(1); env.reset()\n"
        "print('gym' in sys.modules)"
    )
    done = run_python(code)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "False", "")
