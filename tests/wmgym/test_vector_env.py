"""DreamVectorEnv: a batch is its dreams, and resets, ends and infos are Gymnasium's own."""

import gc

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from tests.wmgym.toy_world import NUMBER
from wmgym.env import DreamEnv
from wmgym.errors import InvalidActionError
from wmgym.start_memories import StartMemories
from wmgym.vector_env import DreamVectorEnv

DREAM = "LSSVWM-MemoryMaze-v0"
MODES = list(AutoresetMode)

# A batch of 32 multiplies matrices in another order than a batch of 1. Measured over 100 steps of preset
# micro: 1.4e-6 in latents and features of about unit variance, and one of 256 levels in pixels.
ROUNDING = {"pixels": 1, "latent": 2e-5, "features": 2e-5}


def some_actions(steps, dreams, seed=0, count=6):
    return np.random.default_rng(seed).integers(0, count, (steps, dreams))


def assert_same(one, other):
    """Compare what two environments returned, infos included: same keys, types and values."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, tuple) or (isinstance(one, np.ndarray) and one.dtype == object):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("kind", ["pixels", "latent", "features"])
def test_a_batch_of_one_is_the_environment(micro, kind):
    env = DreamEnv(checkpoint=micro, observation=kind)
    envs = DreamVectorEnv(1, checkpoint=micro, observation=kind)
    np.testing.assert_array_equal(env.reset(seed=4)[0], envs.reset(seed=4)[0][0])
    for (action,) in some_actions(10, 1):
        shown, reward, terminated, truncated, _ = env.step(action)
        batch = envs.step([action])
        np.testing.assert_array_equal(shown, batch[0][0])
        assert (reward, terminated, truncated) == tuple(value[0] for value in batch[1:4])


@pytest.mark.parametrize("kind", ["pixels", "latent", "features"])
def test_a_dream_alone_is_the_dream_among_32(micro, kind):
    actions = some_actions(20, 32)
    envs = DreamVectorEnv(32, checkpoint=micro, observation=kind)
    together = [envs.reset(seed=100)[0], *(envs.step(row)[0] for row in actions)]
    for i in (0, 17, 31):
        env = DreamEnv(checkpoint=micro, observation=kind)
        alone = [env.reset(seed=100 + i)[0], *(env.step(row[i])[0] for row in actions)]
        for one, all_of_them in zip(alone, together, strict=True):
            np.testing.assert_allclose(one.astype(np.float64), all_of_them[i].astype(np.float64), atol=ROUNDING[kind])


def test_seeds_may_be_given_one_by_one(micro):
    envs = DreamVectorEnv(3, checkpoint=micro, observation="latent")
    by_rule = envs.reset(seed=8)[0]
    np.testing.assert_array_equal(envs.reset(seed=[8, 9, 10])[0], by_rule)
    swapped = envs.reset(seed=[10, None, 8])[0]
    np.testing.assert_array_equal(swapped[[2, 0]], by_rule[[0, 2]])
    with pytest.raises(ValueError, match="2 seeds given for 3 dreams"):
        envs.reset(seed=[1, 2])


def test_unseeded_dreams_differ_from_each_other(micro):
    envs = DreamVectorEnv(8, checkpoint=micro, observation="latent")
    envs.reset(options={"context": None})
    shown, *_ = envs.step(np.zeros(8, int))
    assert len(np.unique(shown.reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_autoreset_is_gymnasiums_own(toy, mode):
    """Against Gymnasium's SyncVectorEnv of single dreams with its TimeLimit, through ends of both kinds."""
    limit, dreams = 4, 5
    ours = DreamVectorEnv(dreams, checkpoint=toy, observation="features", max_episode_steps=limit, autoreset_mode=mode)
    theirs = SyncVectorEnv(
        [lambda: TimeLimit(DreamEnv(checkpoint=toy, observation="features"), limit)] * dreams,
        autoreset_mode=mode,
    )
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"] is mode
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert_same(ours.reset(seed=3), theirs.reset(seed=3))
    ends = np.zeros(2, int)
    for row in some_actions(60, dreams):
        mine, reference = ours.step(row), theirs.step(row)
        assert_same(mine, reference)
        ends += [mine[2].sum(), mine[3].sum()]
        over = mine[2] | mine[3]
        if mode is AutoresetMode.DISABLED and over.any():
            assert_same(ours.reset(options={"reset_mask": over}), theirs.reset(options={"reset_mask": over.copy()}))
    assert ends.min() > 5


def test_autoreset_mode_may_be_named(toy):
    envs = DreamVectorEnv(1, checkpoint=toy, autoreset_mode="NextStep")
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert DreamVectorEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_with_autoreset_disabled_a_dream_that_is_over_waits(toy):
    envs = DreamVectorEnv(2, checkpoint=toy, max_episode_steps=2, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    envs.step([0, 0])
    assert envs.step([0, 0])[3].all()
    with pytest.raises(ResetNeeded, match=r"\[0 1\] are over"):
        envs.step([0, 0])
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"\[1\] are over"):
        envs.step([0, 0])


def test_a_reset_of_some_leaves_the_others_alone(micro):
    shown = []
    for mask in (None, np.array([False, True, False, True])):
        envs = DreamVectorEnv(4, checkpoint=micro, observation="latent")
        envs.reset(seed=1)
        for row in some_actions(5, 4):
            envs.step(row)
        if mask is not None:
            options = {"reset_mask": mask}
            envs.reset(seed=50, options=options)
            assert set(options) == {"reset_mask"}
        shown.append([envs.step(row)[0] for row in some_actions(5, 4, seed=9)])
    for plain, some in zip(*shown, strict=True):
        np.testing.assert_array_equal(plain[[0, 2]], some[[0, 2]])
        assert (plain[[1, 3]] != some[[1, 3]]).any((1, 2, 3)).all()
    fresh = DreamEnv(checkpoint=micro, observation="latent")
    fresh.reset(seed=53)
    for row, some in zip(some_actions(5, 4, seed=9), shown[1], strict=True):
        np.testing.assert_allclose(fresh.step(row[3])[0], some[3], atol=ROUNDING["latent"])


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([True, False], "numpy array of 2 booleans"),
        (np.array([1, 0]), "numpy array of 2 booleans"),
        (np.array([True]), "numpy array of 2 booleans"),
        (np.array([False, False]), "False everywhere"),
    ],
)
def test_bad_masks(toy, mask, words):
    with pytest.raises(ValueError, match=words):
        DreamVectorEnv(2, checkpoint=toy).reset(options={"reset_mask": mask})


@pytest.mark.parametrize(
    "actions",
    [
        [0, 6],
        [-1, 0],
        [0],
        [[0, 1]],
        [0.0, 1.0],
        3,
        None,
        np.array([0, 2**40]),
        [0, [1, 2]],
        {0: 1},
        torch.zeros(2, requires_grad=True),
    ],
    ids=repr,
)
def test_bad_actions_are_refused_and_change_nothing(toy, actions):
    envs = DreamVectorEnv(2, checkpoint=toy, observation="features")
    envs.reset(seed=0)
    with pytest.raises(InvalidActionError, match="expected"):
        envs.step(actions)
    np.testing.assert_array_equal(envs.step([0, 0])[0][:, NUMBER], [2, 2])


def broken(method, calls):
    """The method, but the given call of it is interrupted when its work is done."""
    left = iter(range(1, calls + 1))

    def call(*args, **kwargs):
        done = method(*args, **kwargs)
        if next(left, None) == calls:
            raise KeyboardInterrupt
        return done

    return call


@pytest.mark.parametrize("name", ["imagine", "take"])
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_step_that_breaks_off_can_be_made_again(toy, monkeypatch, name, mode):
    """In the dream (imagine) and in the start of the next one (take), in the step after three others."""
    courses = []
    for breaks in (False, True):
        envs = DreamVectorEnv(3, checkpoint=toy, observation="features", max_episode_steps=4, autoreset_mode=mode)
        envs.reset(seed=0)
        course = []
        for step, row in enumerate([[1, 0, 0], [0, 1, 0], [0, 0, 2], [2, 3, 4], [0, 1, 2], [3, 3, 3]]):
            if breaks and step == (4 if (name, mode) == ("take", "NextStep") else 3):
                owner = toy.world.dynamics if name == "imagine" else StartMemories
                with monkeypatch.context() as patch:
                    patch.setattr(owner, name, broken(getattr(owner, name), calls=1))
                    with pytest.raises(KeyboardInterrupt):
                        envs.step(row)
            course.append(envs.step(row))
        courses.append(course)
    for undisturbed, retried in zip(*courses, strict=True):
        assert_same(undisturbed, retried)


def test_a_reset_that_breaks_off_leaves_the_dreams_as_they_were(toy, monkeypatch):
    envs = DreamVectorEnv(3, checkpoint=toy, observation="features")
    envs.reset(seed=0)
    envs.step([1, 2, 3])
    before = envs.clone_state()
    monkeypatch.setattr(StartMemories, "take", broken(StartMemories.take, calls=1))
    with pytest.raises(KeyboardInterrupt):
        envs.reset(seed=9)
    after = envs.clone_state()
    for field in ("latent", "features", "steps", "generators"):
        assert torch.equal(getattr(before, field), getattr(after, field))


def test_dreams_that_were_never_started(toy):
    envs = DreamVectorEnv(2, checkpoint=toy)
    with pytest.raises(ResetNeeded, match=r"\[0 1\] were never started"):
        envs.step([0, 0])
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"\[1\] were never started"):
        envs.step([0, 0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_envs": 0}, "num_envs = 0"),
        ({"max_episode_steps": 0}, "max_episode_steps = 0"),
        ({"autoreset_mode": "sometimes"}, "sometimes"),
    ],
)
def test_bad_arguments(toy, arguments, words):
    with pytest.raises(ValueError, match=words):
        DreamVectorEnv(checkpoint=toy, **arguments)


@pytest.mark.parametrize(("limit", "truncated_at"), [(3, [3, 6]), (-1, [])])
def test_make_vec_truncates_at_the_limit(toy, limit, truncated_at):
    envs = gymnasium.make_vec(DREAM, num_envs=2, checkpoint=toy, max_episode_steps=limit)
    envs.reset(seed=0)
    truncations = [envs.step([0, 0])[3] for _ in range(7)]
    assert [step for step, row in enumerate(truncations, start=1) if row.all()] == truncated_at
    assert sum(row.sum() for row in truncations) == 2 * len(truncated_at)


def test_make_vec_truncates_after_a_thousand_steps_by_itself(toy):
    envs = gymnasium.make_vec(DREAM, num_envs=1, checkpoint=toy, observation="features")
    envs.reset(seed=0)
    assert [step for step in range(1, 1002) if envs.step([0])[3].any()] == [1000]


def test_what_is_returned_belongs_to_the_caller(micro):
    for kind in ("pixels", "latent", "features"):
        envs = DreamVectorEnv(2, checkpoint=micro, observation=kind)
        shown, _ = envs.reset(seed=0)
        kept = shown.copy()
        later, rewards, *_ = envs.step([1, 2])
        np.testing.assert_array_equal(shown, kept)
        expected = envs.clone_state()
        later[:], rewards[:] = 0, 0
        np.testing.assert_array_equal(envs.clone_state().latent, expected.latent)
        np.testing.assert_array_equal(envs.clone_state().features, expected.features)


def test_rendering_shows_every_dream(toy):
    envs = DreamVectorEnv(3, checkpoint=toy, observation="features", render_mode="rgb_array")
    with pytest.raises(ResetNeeded):
        envs.render()
    envs.reset(seed=0)
    envs.step([0, 0, 5])
    frames = envs.render()
    assert len(frames) == 3
    assert [frame.max() for frame in frames[:2]] == [2, 2]
    assert frames[2].max() >= 40


def test_long_dreams_do_not_grow(toy):
    envs = DreamVectorEnv(2, checkpoint=toy, observation="features", max_episode_steps=100)
    envs.reset(seed=0)
    sizes = []
    for _ in range(3):
        for _ in range(300):
            envs.step([0, 1])
        gc.collect()
        sizes.append((len(gc.get_objects()), envs.state_nbytes))
    assert sizes[2][1] == sizes[0][1]
    assert abs(sizes[2][0] - sizes[1][0]) < 50
