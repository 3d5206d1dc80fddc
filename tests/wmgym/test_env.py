"""DreamEnv: both checkers, seeds, contexts, bad input, rendering."""

import builtins
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils import seeding
from gymnasium.utils.env_checker import check_env

from model.axes import START_ACTION
from model.sampler import draw_noise
from tests.wmgym.toy_world import FATAL_ACTION, NUMBER, grey
from wmgym.codec import frames_to_tensor
from wmgym.dream import DEFAULT_DENOISING_STEPS
from wmgym.env import DreamEnv
from wmgym.errors import ContextError, DependencyError, InvalidActionError
from wmgym.window import Window, tile

DREAM = "LSSVWM-MemoryMaze-v0"
KINDS = ("pixels", "latent", "features")
ACTIONS = (1, 3, 0, 5, 2, 2, 4, 1)

# What the checkers say about vectors of floats; about pixels they must say nothing.
ADVICE = {
    "pixels": (),
    "latent": ("is -infinity", "is infinity", "is an image", "minimal resolution for an image"),
    "features": ("is -infinity", "is infinity"),
}


def check_twice(env, advice):
    """Run Gymnasium's and Stable-Baselines3's checker; allow warnings that contain one of the texts."""
    from stable_baselines3.common.env_checker import check_env as check_env_sb3

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped if isinstance(env.unwrapped, DreamEnv) else env)
        check_env_sb3(env)
    unexpected = [str(w.message) for w in caught if not any(text in str(w.message) for text in advice)]
    assert unexpected == []


def play(env, seed, actions=ACTIONS, **options):
    """Return everything an episode shows: observations, rewards, ends."""
    shown, _ = env.reset(seed=seed, options=options or None)
    seen = [(shown, 0.0, False)]
    for action in actions:
        shown, reward, terminated, _, _ = env.step(action)
        seen.append((shown, reward, terminated))
    return [np.stack([np.asarray(row[i]) for row in seen]) for i in range(3)]


def random_context(frames, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "frames": rng.integers(0, 256, (frames, 64, 64, 3), np.uint8),
        "actions": rng.integers(0, 6, frames),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_both_checkers(micro_folder, kind):
    pytest.importorskip("stable_baselines3")
    env = gymnasium.make(DREAM, checkpoint=str(micro_folder), observation=kind, render_mode="rgb_array")
    check_twice(env, ADVICE[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_dream(micro, kind):
    first, again = (play(DreamEnv(checkpoint=micro, observation=kind), seed=7) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    different = play(DreamEnv(checkpoint=micro, observation=kind), seed=8)
    assert (first[0] != different[0]).any()


def test_the_reset_after_a_seeded_one_is_reproducible_and_another(micro):
    env = DreamEnv(checkpoint=micro, observation="latent")
    rounds = []
    for _ in range(2):
        play(env, seed=7)
        rounds.append(play(env, seed=None))
    np.testing.assert_array_equal(rounds[0][0], rounds[1][0])
    assert (rounds[0][0] != play(env, seed=7)[0]).any()


def test_an_unseeded_environment_follows_its_np_random(micro):
    dreams = []
    for _ in range(2):
        env = DreamEnv(checkpoint=micro, observation="latent")
        env.np_random = np.random.default_rng(11)
        dreams.append(play(env, seed=None)[0])
    np.testing.assert_array_equal(*dreams)


def test_actions_matter(micro):
    env = DreamEnv(checkpoint=micro, observation="latent")
    one, other = (play(env, seed=1, actions=[action])[0] for action in (0, 4))
    np.testing.assert_array_equal(one[0], other[0])
    assert np.abs(one[1] - other[1]).max() > 1e-3


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_a_dream_is_what_the_model_imagines(micro, steps):
    """Context, then steps, against the model called by hand on the whole context at once."""
    world, context, seed = micro.world, random_context(70), 5
    env = DreamEnv(checkpoint=micro, observation="features", denoising_steps=steps)
    shown, *_ = play(env, seed, context=context)

    generator = torch.Generator().manual_seed(int(seeding.np_random(seed)[0].integers(2**63)))
    led = torch.tensor([[START_ACTION, *context["actions"][1:]]])
    with torch.no_grad():
        latents = world.tokenizer.encode(frames_to_tensor(context["frames"]))[None]
        features, memory = world.dynamics.observe(world.dynamics.initial_memory(1), latents, led)
        expected = [features[0, -1].numpy()]
        for action in ACTIONS:
            noise = draw_noise([generator], latents.shape[2:])
            imagined, memory = world.dynamics.imagine(memory, torch.tensor([action]), noise, steps)
            expected.append(imagined.features[0].numpy())
    np.testing.assert_allclose(shown, expected, atol=1e-4)


def test_without_context_a_first_frame_of_the_bank_is_shown(micro):
    env = DreamEnv(checkpoint=micro, observation="latent")
    with torch.no_grad():
        bank = micro.world.tokenizer.encode(frames_to_tensor(micro.first_frames)).numpy()
    found = [np.abs(bank - env.reset(seed=s)[0]).max((1, 2, 3)).argmin() for s in range(25)]
    distances = [np.abs(bank - env.reset(seed=s)[0]).max((1, 2, 3)).min() for s in range(25)]
    assert max(distances) < 1e-5
    assert set(found) == set(range(len(bank)))


def test_context_none_dreams_the_first_frame(micro):
    env = DreamEnv(checkpoint=micro, observation="latent")
    shown, _ = env.reset(seed=3, options={"context": None})
    generator = torch.Generator().manual_seed(int(seeding.np_random(3)[0].integers(2**63)))
    dynamics = micro.world.dynamics
    with torch.no_grad():
        noise = draw_noise([generator], shown.shape)
        start = torch.tensor([START_ACTION])
        imagined, _ = dynamics.imagine(dynamics.initial_memory(1), start, noise, DEFAULT_DENOISING_STEPS)
    np.testing.assert_allclose(shown, imagined.latent[0], atol=1e-5)


GOOD = {"frames": grey([1, 2, 3]), "actions": np.array([0, 1, 2])}
BAD_CONTEXTS = {
    "not a mapping": (3, r"is a int"),
    "a string": ("frames", r"is a str"),
    "missing key": ({"frames": GOOD["frames"]}, r"is \['frames'\], expected"),
    "extra key": (GOOD | {"rewards": 0}, r"'rewards'.*expected"),
    "too many": ([GOOD, GOOD], r"lists 2 contexts for 1 dreams"),
    "not one": ([7], r"\['context'\]\[0\] is int"),
    "float frames": (GOOD | {"frames": GOOD["frames"] / 255}, r"float64, expected uint8"),
    "small frames": (
        GOOD | {"frames": GOOD["frames"][:, :32]},
        r"\(3, 32, 64, 3\), expected \(t, 64, 64, 3\)",
    ),
    "one frame": (GOOD | {"frames": GOOD["frames"][0]}, r"\(64, 64, 3\), expected"),
    "no frame": (GOOD | {"frames": GOOD["frames"][:0], "actions": []}, r"empty, expected at least 1"),
    "too few actions": (GOOD | {"actions": [1, 2]}, r"\(2,\), expected \(3,\)"),
    "one-hot actions": (GOOD | {"actions": np.eye(6)[:3]}, r"argmax"),
    "float actions": (GOOD | {"actions": np.ones(3)}, r"float64, expected integers"),
    "ragged actions": (
        GOOD | {"actions": [[1], [2, 3], [1]]},
        r"\['actions'\] is a list of which numpy makes no array",
    ),
    "ragged frames": (GOOD | {"frames": [[1], [2, 3], [1]]}, r"\['frames'\] is a list of which numpy makes no array"),
    "frames with gradients": (GOOD | {"frames": torch.zeros(1, requires_grad=True)}, r"pass tensor.detach"),
    "action too large": (GOOD | {"actions": [0, 1, 6]}, r"from 1 to 6 after the first, expected 0 to 5"),
    "action below zero": (GOOD | {"actions": [0, -1, 2]}, r"from -1 to 2"),
}


@pytest.mark.parametrize(("context", "words"), BAD_CONTEXTS.values(), ids=BAD_CONTEXTS)
def test_bad_contexts_are_refused_and_change_nothing(toy, context, words):
    env = DreamEnv(checkpoint=toy, observation="features")
    env.reset(seed=0)
    assert env.np_random_seed == 0
    env.step(1)
    with pytest.raises(ContextError, match=words):
        env.reset(seed=5, options={"context": context})
    assert env.np_random.bit_generator.state == seeding.np_random(0)[0].bit_generator.state
    assert env.step(1)[0][NUMBER] == 3


def test_the_first_action_of_a_context_is_ignored(toy):
    env = DreamEnv(checkpoint=toy, observation="features")
    shown = [env.reset(options={"context": GOOD | {"actions": np.array([first, 1, 2])}})[0] for first in (-7, 0, 99)]
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0], shown[2])


def test_the_users_context_is_left_alone(toy):
    context = {key: value.copy() for key, value in GOOD.items()}
    DreamEnv(checkpoint=toy).reset(options={"context": context})
    for key, value in GOOD.items():
        np.testing.assert_array_equal(context[key], value)


@pytest.mark.parametrize("action", [-1, 6, 1.0, "1", None, [1], True, np.float32(2)], ids=repr)
def test_bad_actions_are_refused_and_change_nothing(toy, action):
    env = DreamEnv(checkpoint=toy, observation="features")
    env.reset(seed=0)
    expected = env.clone_state()
    with pytest.raises(InvalidActionError) as caught:
        env.step(action)
    assert isinstance(caught.value, InvalidAction)
    assert "expected" in str(caught.value)
    assert torch.equal(env.clone_state().generators, expected.generators)
    assert env.step(1)[0][NUMBER] == 2


@pytest.mark.parametrize("seed", [-1, True])
def test_bad_seeds_are_refused_and_change_nothing(toy, seed):
    env = DreamEnv(checkpoint=toy, observation="features")
    env.reset(seed=0)
    before = env.clone_state().generators
    with pytest.raises(ValueError, match="expected a whole number of at least 0"):
        env.reset(seed=seed)
    assert env.np_random_seed == 0
    assert torch.equal(env.clone_state().generators, before)


@pytest.mark.parametrize("action", [2, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2)], ids=repr)
def test_any_integer_is_an_action(toy, action):
    env = DreamEnv(checkpoint=toy, observation="features")
    env.reset(seed=0)
    assert env.step(action)[1] == 22


def test_stepping_before_reset_or_after_the_end(toy):
    env = DreamEnv(checkpoint=toy, observation="features", render_mode="rgb_array")
    for use in (lambda: env.step(0), env.render, env.clone_state):
        with pytest.raises(ResetNeeded):
            use()
    env.reset()
    assert env.step(FATAL_ACTION)[2]
    with pytest.raises(ResetNeeded, match="are over"):
        env.step(0)
    env.reset()
    assert not env.step(0)[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"observation": "frames"}, "'frames', expected one of 'pixels', 'latent', 'features'"),
        ({"denoising_steps": 3}, r"denoising_steps = 3.*\[1, 2, 4, 8\]"),
        ({"render_mode": "ansi"}, "render_mode = 'ansi'"),
    ],
)
def test_bad_arguments(toy, arguments, words):
    with pytest.raises(ValueError, match=words):
        DreamEnv(checkpoint=toy, **arguments)


def test_the_time_limit_truncates_at_its_step_and_no_other(micro_folder):
    env = gymnasium.make(DREAM, checkpoint=str(micro_folder), observation="latent", max_episode_steps=4)
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(4)] == [False, False, False, True]


def test_a_dream_of_its_own_never_truncates(toy):
    env = DreamEnv(checkpoint=toy, observation="features")
    env.reset(seed=0)
    assert not any(env.step(0)[3] for _ in range(1100))


def test_rendering_is_the_observation_in_pixels(micro):
    env = DreamEnv(checkpoint=micro, observation="pixels", render_mode="rgb_array")
    shown, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), shown)
    shown, *_ = env.step(1)
    np.testing.assert_array_equal(env.render(), shown)
    kept = shown.copy()
    env.render()[:] = 0
    shown[:] = 0
    np.testing.assert_array_equal(env.render(), kept)
    assert DreamEnv(checkpoint=micro).render() is None


def test_human_rendering_shows_the_frames(toy, monkeypatch):
    pytest.importorskip("pygame")
    env = DreamEnv(checkpoint=toy, observation="features", render_mode="human")
    env._dreams._window._fps = 0  # no pace
    pictures = []
    show = Window.show
    monkeypatch.setattr(Window, "show", lambda self, frames: (pictures.append(frames), show(self, frames)))
    env.reset(seed=0)
    env.step(0)
    assert env.render() is None
    assert [picture.max() for picture in pictures[1:]] == [2, 2]
    screen = env._dreams._window._screen
    assert screen.get_size() == (512, 512)
    assert screen.get_at((300, 200))[:3] == (2, 2, 2)
    env.close()
    env.close()


def test_human_rendering_without_pygame(toy, monkeypatch):
    load = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pygame":
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "pygame", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyError, match=r"pip install -e '\.\[human\]' in a clone of wmgym"):
        DreamEnv(checkpoint=toy, render_mode="human")


def test_windows_lay_frames_out_row_by_row():
    picture = tile(grey([1, 2, 3, 4, 5]))
    assert picture.shape == (128, 192, 3)
    assert picture[0, ::64, 0].tolist() == [1, 2, 3]
    assert picture[64, ::64, 0].tolist() == [4, 5, 0]
