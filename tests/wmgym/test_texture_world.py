"""The texture world: every view has one right answer, and nothing of it can be known beforehand."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from wmgym.errors import InvalidActionError
from wmgym.texture_world import BACK, FORWARD, LEFT, NOTHING, RIGHT, TextureWorldEnv, _mix, colour, view

UNDONE_BY = {NOTHING: NOTHING, FORWARD: BACK, BACK: FORWARD, LEFT: RIGHT, RIGHT: LEFT}


def walk(env, actions):
    return [env.step(action)[0] for action in actions]


def test_both_official_checkers_pass():
    with gymnasium.make("wmgym/TextureWorld-v0", size=36, render_mode="rgb_array") as env:
        check_env(env.unwrapped)
        sb3_check_env(env)


def test_the_id_ends_an_episode_after_a_thousand_steps():
    with gymnasium.make("wmgym/TextureWorld-v0", size=8) as env:
        env.reset(seed=0)
        ends = [env.step(FORWARD)[2:4] for _ in range(1000)]
    assert ends == [(False, False)] * 999 + [(False, True)]


@given(
    actions=st.lists(st.sampled_from(sorted(UNDONE_BY)), max_size=40),
    turns=st.sampled_from([4, 8, 12, 36]),
    step=st.sampled_from([1.0, 0.3, 7.77]),
)
def test_the_exact_way_back_shows_the_same_frames_backwards(actions, turns, step):
    env = TextureWorldEnv(size=8, turns=turns, step=step)
    out = [env.reset(seed=1)[0], *walk(env, actions)]
    back = walk(env, [UNDONE_BY[action] for action in reversed(actions)])
    np.testing.assert_array_equal([out[-1], *back], out[::-1])


def test_a_place_looks_the_same_whichever_way_one_came():
    env = TextureWorldEnv()
    start, _ = env.reset(seed=2)
    loop = [FORWARD, FORWARD, LEFT, FORWARD, LEFT, FORWARD, FORWARD, LEFT, FORWARD, LEFT]
    frames = walk(env, loop)
    np.testing.assert_array_equal(frames[-1], start)
    assert all(np.abs(frame.astype(int) - start).mean() > 20 for frame in frames[:-1])


def test_a_turn_by_a_right_angle_turns_the_picture():
    env = TextureWorldEnv(size=16)
    start, _ = env.reset(seed=3)
    turned = env.step(LEFT)[0]  # what was left is now ahead
    np.testing.assert_allclose(turned.astype(int), np.rot90(start, -1).astype(int), atol=1)


def test_a_view_ahead_begins_where_this_one_ends():
    lower, upper = (view(5, np.array([x, 0.0]), np.array([1.0, 0.0]), 256).astype(int) for x in (0.0, 1.0))
    assert np.abs(upper[-1] - lower[0]).max() < 10
    assert np.abs(upper[0] - lower[0]).max() > 50


def test_half_a_step_shows_half_of_the_view_before():
    env = TextureWorldEnv(size=16, step=0.5)
    start, _ = env.reset(seed=4)
    np.testing.assert_allclose(env.step(FORWARD)[0][8:].astype(int), start[:8].astype(int), atol=1)


def test_hashing_is_splitmix64():
    """The first numbers of the published generator seeded with 1234567, whose state grows by one constant."""
    golden, published = 0x9E3779B97F4A7C15, [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = np.array([(1234567 + i * golden) % 2**64 for i in range(3)], np.uint64)
    assert _mix(states).tolist() == published


def test_colours_between_lattice_points_are_blended_from_the_four_around():
    corners = np.array([[[i, j] for j in (0, 1)] for i in (0, 1)], float)
    at_corners = colour(7, corners)
    x, y = 0.3, 0.8
    right, up = (s * s * (3 - 2 * s) for s in (x, y))
    expected = sum(
        (right if i else 1 - right) * (up if j else 1 - up) * at_corners[i, j] for i in (0, 1) for j in (0, 1)
    )
    np.testing.assert_allclose(colour(7, np.array([[x, y]]))[0], expected, atol=1e-12)


def test_lattice_colours_are_uniform_and_independent():
    grid = np.stack(np.meshgrid(np.arange(-50, 50), np.arange(-50, 50)), -1).astype(float)
    here, elsewhere = colour(8, grid), colour(9, grid)
    counts, _ = np.histogram(here, bins=10, range=(0, 1))
    assert counts == pytest.approx([here.size / 10] * 10, rel=0.1)
    pairs = [(here[1:], here[:-1]), (here[:, 1:], here[:, :-1]), (here, elsewhere), (here[..., 0], here[..., 1])]
    for first, second in pairs:
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.04  # four standard errors of the smallest


def test_far_away_is_as_near_by():
    frame = view(10, np.array([2.0**40, -(2.0**40)]), np.array([1.0, 0.0]), 64)
    assert frame.std() > 30


def test_seeds_fix_the_texture_and_resets_without_go_on():
    first, second = TextureWorldEnv(), TextureWorldEnv()
    frames = [first.reset(seed=5)[0], first.reset()[0], first.reset()[0]]
    twins = [second.reset(seed=5)[0], second.reset()[0], second.reset()[0]]
    np.testing.assert_array_equal(frames, twins)
    assert (frames[0] != frames[1]).any()
    assert (frames[1] != frames[2]).any()


def test_information_says_where_the_camera_is():
    env = TextureWorldEnv(step=2.0)
    env.reset(seed=0)
    for action in (FORWARD, LEFT, FORWARD, FORWARD, RIGHT, BACK, NOTHING):
        info = env.step(action)[4]
    np.testing.assert_array_equal(info["agent_pos"], [0.0, 4.0])
    np.testing.assert_array_equal(info["agent_dir"], [1.0, 0.0])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"size": 0}, "size = 0"), ({"step": 0.0}, "step = 0.0"), ({"step": float("nan")}, "step = nan"),
     ({"turns": 6}, "turns = 6"), ({"render_mode": "human"}, "human")],
)  # fmt: skip
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        TextureWorldEnv(**arguments)


def test_options_are_refused_as_there_are_none():
    env = TextureWorldEnv()
    with pytest.raises(ValueError, match=r"options has the keys \['pose'\], expected none"):
        env.reset(options={"pose": (1, 0)})
    env.reset(options={})


def test_bad_actions_and_steps_before_a_reset_are_refused():
    env = TextureWorldEnv(render_mode="rgb_array")
    with pytest.raises(ResetNeeded):
        env.step(0)
    with pytest.raises(ResetNeeded):
        env.render()
    env.reset(seed=0)
    for action in (5, -1, 1.5, None, True):
        with pytest.raises(InvalidActionError):
            env.step(action)
    with pytest.raises(InvalidActionError):
        env.step([0, 1])
