"""Fast or plain, a dream is the same to rounding, a value that goes on exactly, and whole when a step breaks off."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.backbones import with_backbone
from model.config import PRESETS
from model.fast_memory import FastMemory
from model.fast_path import FastPath
from model.heads import Heads
from model.world_model import WorldModel
from tests.wmgym.test_dream_state import assert_equal_states, assert_same_course, go_on, some_actions, tensors_of
from tests.wmgym.test_vector_env import assert_same, broken
from tests.wmgym.test_wrappers import Noisy
from wmgym.checkpoint import Checkpoint
from wmgym.context import Context, first_frame
from wmgym.dream import Dreams
from wmgym.env import DreamEnv
from wmgym.start_memories import StartMemories
from wmgym.stepping import FastStepping, PlainStepping
from wmgym.vector_env import DreamVectorEnv
from wmgym.wrappers import WorldModelObservation

# Each goes on from its own frames, in float32 but in another order. Measured over 40 steps: 3e-6 and one level.
ROUNDING = {"pixels": 1, "latent": 1e-4, "features": 1e-4}
LIMIT = 5


@pytest.fixture
def make(micro):
    """Builds three dreams that end after five steps, of which the last began two steps after the others."""

    def make(**settings):
        settings = {"observation": "latent", "denoising_steps": 2, "max_episode_steps": LIMIT} | settings
        envs = DreamVectorEnv(3, checkpoint=micro, **settings)
        envs.reset(seed=0)
        go_on(envs, some_actions(2, 3, seed=7))
        envs.reset(seed=[None, None, 4], options={"reset_mask": np.array([False, False, True])})
        return envs

    return make


def kind_of(envs):
    return type(envs._dreams._stepping)


def assert_near(one, other, kind):
    """Compare what two environments returned: the dreams to rounding, all else exactly, infos included."""
    for a, b in zip((one[0], *finals(one)), (other[0], *finals(other)), strict=True):
        np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=0, atol=ROUNDING[kind])
    for a, b in zip(one[1:4], other[1:4], strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(one[4]) == set(other[4])
    assert_same(one[4].get("_final_obs"), other[4].get("_final_obs"))


def finals(returned):
    return [shown for shown in returned[4].get("final_obs", []) if shown is not None]


def assert_near_states(one, other):
    expected, given = tensors_of(other), tensors_of(one)
    assert set(expected) == set(given)
    assert one.digest == other.digest
    for key, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(given[key], value, rtol=1e-4, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}")
        else:
            assert torch.equal(given[key], value), key


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("kind", ["pixels", "latent", "features"])
def test_fast_and_plain_are_the_same_dream(make, kind, mode):
    """Through ends at different times, after which dreams start anew among others."""
    fast, plain = (make(observation=kind, autoreset_mode=mode, fast=fast) for fast in (True, False))
    assert (kind_of(fast), kind_of(plain)) == (FastStepping, PlainStepping)
    ends = []
    for row in some_actions(3 * LIMIT, 3):
        ours, theirs = fast.step(row), plain.step(row)
        assert_near(ours, theirs, kind)
        ends.append(ours[3])
    assert_near_states(fast.clone_state(), plain.clone_state())
    ends = np.array(ends)
    assert ends.any(0).all()
    assert (ends.sum(1) == 1).any()


def test_fast_is_what_one_gets(micro):
    assert kind_of(DreamVectorEnv(1, checkpoint=micro)) is FastStepping
    assert kind_of(DreamEnv(checkpoint=micro)._dreams) is FastStepping
    assert kind_of(DreamEnv(checkpoint=micro, fast=False)._dreams) is PlainStepping


def test_a_single_dream_is_the_same_dream(micro):
    fast, plain = (DreamEnv(checkpoint=micro, observation="features", fast=fast) for fast in (True, False))
    pairs = [(fast.reset(seed=3, options={"context": None})[0], plain.reset(seed=3, options={"context": None})[0])]
    pairs += [(fast.step(a)[0], plain.step(a)[0]) for a in (1, 5, 0, 2, 2, 4)]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=ROUNDING["features"])


@pytest.mark.parametrize("before", range(4))
def test_a_restored_fast_dream_goes_on_bit_equal(make, before):
    """Wherever its ring stood when it was cloned, in the same places and in another environment."""
    envs = make(max_episode_steps=9)
    go_on(envs, some_actions(before, 3, seed=1))
    state, actions = envs.clone_state(), some_actions(4, 3, seed=2)
    expected = go_on(envs, actions)
    for there in (envs, make(max_episode_steps=9)):
        there.restore_state(state)
        assert_equal_states(there.clone_state(), state)
        assert_same_course(go_on(there, actions), expected)


@pytest.mark.parametrize("before", range(4))
def test_a_fast_dream_restored_among_others_goes_on_bit_equal(make, before):
    envs = make(max_episode_steps=9)
    state, actions = envs.clone_state(), some_actions(4, 3, seed=2)
    expected = go_on(envs, actions)
    go_on(envs, some_actions(before, 3, seed=1))
    kept = envs.clone_state([0, 1])
    envs.restore_state(state.select([2]), [2])
    assert_equal_states(envs.clone_state([0, 1]), kept)
    assert_equal_states(envs.clone_state([2]), state.select([2]))
    for ours, theirs in zip(go_on(envs, actions), expected, strict=True):
        np.testing.assert_array_equal(ours[0][2], theirs[0][2])


@pytest.mark.parametrize("fast_first", [True, False])
def test_a_state_goes_from_fast_to_plain_and_back(make, fast_first):
    """All dreams, and one among others that are elsewhere."""
    ours, theirs = make(fast=fast_first), make(fast=not fast_first)
    go_on(ours, some_actions(3, 3, seed=1))
    go_on(theirs, some_actions(6, 3, seed=8))
    state = ours.clone_state()
    theirs.restore_state(state)
    assert_equal_states(theirs.clone_state(), state)
    for row in some_actions(8, 3, seed=2):
        assert_near(theirs.step(row), ours.step(row), "latent")
    state = ours.clone_state([1])
    kept = theirs.clone_state([0, 1])
    theirs.restore_state(state, [2])
    assert_equal_states(theirs.clone_state([0, 1]), kept)
    assert_equal_states(theirs.clone_state([2]), state)
    ours.restore_state(state, [2])
    for row in some_actions(4, 3, seed=3):
        np.testing.assert_allclose(theirs.step(row)[0][2], ours.step(row)[0][2], rtol=0, atol=ROUNDING["latent"])


def breaks(where, owner, name, call, mode="SameStep"):
    return pytest.param(owner, name, call, mode, id=f"{where}-{mode}")


@pytest.mark.parametrize(
    ("owner", "name", "call", "mode"),
    [
        breaks("dream", lambda c: FastPath, "imagine", 1),
        breaks("dream", lambda c: FastPath, "imagine", 1, "NextStep"),
        breaks("heads", lambda c: Heads, "forward", 1),
        breaks("last_picture", lambda c: FastPath, "decode", 1),
        breaks("restart", lambda c: StartMemories, "take", 1),
        breaks("restart", lambda c: StartMemories, "take", 1, "NextStep"),
        breaks("half_put", lambda c: FastMemory, "overwrite", 1),
        breaks("half_put", lambda c: FastMemory, "overwrite", 1, "NextStep"),
        breaks("first_picture", lambda c: FastPath, "decode", 2),
        breaks("picture", lambda c: FastPath, "decode", 1, "NextStep"),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_step_that_breaks_off_changes_nothing(micro, make, monkeypatch, owner, name, call, mode, times):
    """In the step in which one dream of three starts anew; once, and twice in a row."""
    courses, actions = [], some_actions(8, 3)
    begins = LIMIT - 2 if mode == "NextStep" else LIMIT - 3  # two steps were made before
    for broken_off in (False, True):
        envs = make(observation="pixels", autoreset_mode=mode)
        course = go_on(envs, actions[:begins])
        for _ in range(times if broken_off else 0):
            before = envs.clone_state()
            with monkeypatch.context() as patch:
                thing = owner(micro)
                patch.setattr(thing, name, broken(getattr(thing, name), call))
                with pytest.raises(KeyboardInterrupt):
                    envs.step(actions[begins])
            assert_equal_states(envs.clone_state(), before)
        course += go_on(envs, actions[begins:])
        courses.append((course, envs.clone_state()))
    assert_same_course(courses[0][0], courses[1][0])
    assert_equal_states(courses[0][1], courses[1][1])


def test_a_partial_reset_that_breaks_off_changes_nothing(micro, make, monkeypatch):
    envs, untouched = make(), make()
    before = envs.clone_state()
    frames = {"frames": np.zeros((2, 64, 64, 3), np.uint8), "actions": np.array([0, 1])}
    mask = {"reset_mask": np.array([True, False, True]), "context": [None, None, frames]}
    for owner, name in ((micro.world.dynamics, "imagine"), (micro.world.dynamics, "observe")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken(getattr(owner, name), 1))
            with pytest.raises(KeyboardInterrupt):
                envs.reset(seed=9, options=dict(mask))
        assert_equal_states(envs.clone_state(), before)
    actions = some_actions(6, 3)
    assert_same_course(go_on(envs, actions), go_on(untouched, actions))


def real_frames(rng, frames):
    return Context(rng.integers(0, 256, (frames, 64, 64, 3), np.uint8), rng.integers(0, 6, frames))


@pytest.mark.parametrize("lengths", [[1] * 11, [3, 1, 5, 2]], ids=["by_one", "by_several"])
def test_real_frames_are_taken_in_alike(micro, lengths):
    shown = []
    for fast in (True, False):
        rng = np.random.default_rng(0)
        dreams = Dreams(micro.world, [], 2, fast=fast)
        dreams.start([0, 1], [first_frame(real_frames(rng, 1).frames[0]) for _ in range(2)])
        seen = []
        for length in lengths:
            dreams.observe([real_frames(rng, length) for _ in range(2)])
            seen.append([dreams.observations(kind) for kind in ("latent", "features")])
        assert dreams.steps.tolist() == [11, 11]
        shown.append((seen, dreams.clone()))
    for ours, theirs in zip(*(seen for seen, _ in shown), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
    assert_near_states(shown[0][1], shown[1][1])


def test_a_real_environment_is_shown_as_the_plain_network_sees_it(micro):
    real, again = WorldModelObservation(Noisy(), micro), Noisy()
    assert kind_of(real) is FastStepping
    plain = Dreams(micro.world, [], 1, fast=False)
    for seed in (5, 6):
        shown, _ = real.reset(seed=seed)
        plain.start([0], [first_frame(again.reset(seed=seed)[0])])
        np.testing.assert_allclose(shown, plain.observations("features")[0], rtol=0, atol=1e-4)
        for action in (1, 4, 0, 2, 2, 5):
            shown, *_ = real.step(action)
            plain.observe([Context(again.step(action)[0][None], np.array([action]))])
            np.testing.assert_allclose(shown, plain.observations("features")[0], rtol=0, atol=1e-4)


def test_in_bfloat16_it_is_about_the_same_dream_and_its_states_are_float32(make):
    half, exact = make(precision="bfloat16", observation="features"), make(observation="features")
    for row in some_actions(2, 3):
        error = half.step(row)[0] - exact.step(row)[0]
        assert 0 < np.sqrt((error**2).mean()) < 0.06
    state = half.clone_state()
    assert {v.dtype for v in state.memory.to_dict().values()} == {torch.float32, torch.int64}
    exact.restore_state(state)
    assert_equal_states(exact.clone_state(), state)
    half.restore_state(state)
    assert_equal_states(half.clone_state(), state)


def of_backbone(name):
    micro = PRESETS["micro"]
    world = WorldModel(replace(micro, dynamics=with_backbone(micro.dynamics, name))).eval().requires_grad_(False)
    return Checkpoint(world, np.zeros((1, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("name", ["causal", "mamba2", "videossm"])
def test_without_a_fast_path_dreams_are_plain(name):
    assert kind_of(DreamVectorEnv(2, checkpoint=of_backbone(name))) is PlainStepping


@pytest.mark.parametrize("precision", ["float16", "fp32", ""])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("make_env", [DreamEnv, DreamVectorEnv])
def test_a_precision_that_is_none_is_refused(micro, precision, fast, make_env):
    with pytest.raises(ValueError, match=rf"precision = '{precision}', expected one of 'float32', 'bfloat16'"):
        make_env(checkpoint=micro, fast=fast, precision=precision)


@pytest.mark.parametrize(
    ("asked", "told"),
    [({"precision": "bfloat16"}, "precision = 'bfloat16' given"), ({"compile": True}, "compile = True given")],
    ids=["precision", "compile"],
)
def test_what_only_a_fast_path_has_is_refused_without_one(micro, asked, told):
    """And the message says why there is none, and what to do."""
    for make_env in (DreamEnv, DreamVectorEnv):
        with pytest.raises(ValueError, match=rf"{told}.*fast path.*fast = False was given.*Leave it away"):
            make_env(checkpoint=micro, fast=False, **asked)
        for name in ("causal", "mamba2", "videossm"):
            with pytest.raises(ValueError, match=rf"{told}.*fast path.*this model's backbone has none.*Leave it away"):
                make_env(checkpoint=of_backbone(name), **asked)
