"""Any environment with images, seen as square frames: what is shown, what is drawn, and what is refused."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from PIL import Image

from tests.wmgym.image_worlds import ENDLESS, TOY
from wmgym.errors import ImageWorldError
from wmgym.image_world import ImageWorld
from wmgym.recorded_world import RecordedWorld, make_image_world, time_limit
from wmgym.square_frames import squash

MINIWORLD = "miniworld:MiniWorld-OneRoom-v0"


def toy(**kwargs):
    return gymnasium.make(TOY, **kwargs)


@pytest.mark.parametrize("shape", [(64, 128), (32, 32), (96, 64), (192, 256)])
def test_shrinking_is_the_mean_of_areas(shape):
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    height, width = shape[0] // 32, shape[1] // 32
    means = frame.reshape(32, height, 32, width, 3).mean((1, 3))
    assert np.abs(squash(frame, 32) - means).max() <= 1  # rounded twice, once a side


def test_growing_is_linear_between_the_centres_of_pixels():
    ramp = np.repeat(np.arange(0, 160, 10, np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    wide = squash(ramp, 32)[5, :, 0].astype(float)
    np.testing.assert_allclose(wide[1:-1], 10 * (np.arange(1, 31) / 2 - 0.25), atol=0.51)


def test_each_side_is_brought_to_size_on_its_own():
    """60x80 to 64x64, as MiniWorld's frames: the width is averaged first, then the height grows."""
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    by_hand = Image.fromarray(frame).resize((64, 60), Image.Resampling.BOX).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(squash(frame, 64), np.asarray(by_hand))
    square = frame[:, :60]
    assert squash(square, 60) is square


@pytest.mark.parametrize("observation", ["image", "one_image"])
def test_frames_are_those_that_are_observed(observation):
    env = ImageWorld(toy(observation=observation), 16)
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    frame, _ = env.reset(seed=0)
    shown = [frame]
    for _ in range(3):
        shown.append(env.step(1)[0])
        np.testing.assert_array_equal(env.render(), shown[-1])
    assert [int(frame[8, 8, 0]) for frame in shown] == [0, 10, 20, 30]
    raw = env.last_observation["camera"] if observation == "one_image" else env.last_observation
    np.testing.assert_array_equal(squash(raw, 16), shown[-1])


def test_a_frame_that_was_shown_is_not_changed_by_what_is_done_to_it():
    env = ImageWorld(toy(), 16)
    frame, _ = env.reset(seed=0)
    frame[:] = 255
    assert env.render().max() == 0


def test_the_image_is_chosen_by_its_key():
    env = ImageWorld(toy(observation="two_images"), 8, image_key="map")
    assert (env.reset(seed=0)[0] == 7).all()
    with pytest.raises(ImageWorldError, match=r"no image_key given.*its images are \['camera', 'map'\].*--image-key"):
        ImageWorld(toy(observation="two_images"))


def test_frames_can_be_what_is_drawn():
    env = ImageWorld(toy(observation="numbers", render_mode="rgb_array"), 16, pixels="render")
    env.reset(seed=0)
    assert env.step(2)[0][8, 8].tolist() == [10, 10, 10]
    assert env.last_observation.shape == (4,)


def test_the_sign_of_rewards():
    rewards = {}
    for kind in ("real", "sign"):
        env = ImageWorld(toy(), 16, rewards=kind)
        env.reset(seed=0)
        rewards[kind], over = [], False
        while not over:
            _, reward, *ends, _ = env.step(0)
            rewards[kind].append(reward)
            over = any(ends)
    np.testing.assert_array_equal(rewards["sign"], np.sign(rewards["real"]))
    assert 0.5 in rewards["real"]


@pytest.mark.parametrize(
    ("observation", "settings", "named"),
    [
        ("floats", {}, r"expected a uint8 image .*It holds floats\. Fix: .*astype\(numpy\.uint8\)"),
        ("grey", {}, r"It is grayscale\. Fix"),
        ("grey_axis", {}, r"It is grayscale\. Fix"),
        ("colours_first", {}, r"Its colours come first\. Fix"),
        ("numbers", {}, "Fix: --pixels render"),
        ("no_image", {}, "none of its entries is a uint8 image"),
        ("two_images", {"image_key": "front"}, r"image_key = 'front' given, but .*\['camera', 'map'\]"),
        ("image", {"image_key": "camera"}, "has no entries. Leave it away"),
        ("image", {"pixels": "render"}, r"render_mode = None, expected 'rgb_array'; it offers \['rgb_array'\]"),
        ("image", {"pixels": "render", "image_key": "a"}, "which looks at no observation"),
    ],
)
def test_what_is_no_image_is_refused(observation, settings, named):
    with pytest.raises(ImageWorldError, match=named):
        ImageWorld(toy(observation=observation), **settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"frame_size": 60}, r"frame_size = 60 given, expected a multiple of 8.*Fix: 64"),
        ({"frame_size": 0}, "frame_size = 0"),
        ({"pixels": "video"}, "pixels = 'video' given, expected one of"),
        ({"rewards": "log"}, "rewards = 'log' given, expected one of"),
    ],
)
def test_other_settings_are_refused(settings, named):
    with pytest.raises(ValueError, match=named):
        ImageWorld(toy(), **settings)


def test_a_frame_that_changes_its_size_is_refused_when_it_does():
    env = ImageWorld(toy(observation="growing"))
    env.reset(seed=0)
    with pytest.raises(ImageWorldError, match=r"Toy-v0: the observation gave a frame of \(20, 31, 3\), the first .*30"):
        env.step(0)


def test_an_observation_that_is_not_what_its_space_says_is_refused():
    env = ImageWorld(toy(observation="lying"))
    with pytest.raises(ImageWorldError, match=r"gave float32 \(20, 30, 3\), expected a uint8 image"):
        env.reset(seed=0)


def test_actions_that_cannot_be_recorded_are_refused():
    env = toy()
    env.unwrapped.action_space = gymnasium.spaces.MultiBinary(3)
    with pytest.raises(ValueError, match="MultiBinary"):
        ImageWorld(env)


def test_the_spec_rebuilds_it():
    env = ImageWorld(toy(actions="pairs"), 16, rewards="sign")
    spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
    twin = gymnasium.make(spec)
    assert isinstance(twin, ImageWorld)
    np.testing.assert_array_equal(env.reset(seed=3)[0], twin.reset(seed=3)[0])


def test_gymnasium_finds_nothing_wrong_with_it():
    with warnings.catch_warnings():  # it warns of any wrapper
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        check_env(ImageWorld(toy(), 16), skip_render_check=True)


def test_recorded_facts_make_the_same_world():
    env = make_image_world(TOY, {"actions": "pairs"}, frame_size=24, rewards="sign", max_episode_steps=5)
    facts = RecordedWorld(TOY, env.action_space, 5, {"actions": "pairs"}, frame_size=24, rewards="sign")
    again = RecordedWorld.from_json(facts.to_json())
    assert again == facts
    twin = again.make()
    assert (time_limit(twin), twin.action_space) == (5, env.action_space)
    np.testing.assert_array_equal(env.reset(seed=1)[0], twin.reset(seed=1)[0])
    other = RecordedWorld(TOY, gymnasium.spaces.Discrete(9), 5)
    with pytest.raises(ImageWorldError, match=r"takes Discrete\(3\), expected Discrete\(9\)"):
        other.make()


@pytest.mark.parametrize("damage", [{"env": None}, {"action_space": "{}"}, {"colour": 1}])
def test_damaged_facts_are_refused(damage):
    facts = RecordedWorld(TOY, gymnasium.spaces.Discrete(3), 5).to_json() | damage
    if damage.get("env", 0) is None:
        del facts["env"]
    with pytest.raises(ValueError, match="describes no recorded world"):
        RecordedWorld.from_json(facts)


def test_what_cannot_be_made_is_named():
    with pytest.raises(ImageWorldError, match=r"NoSuchWorld-v0 cannot be made with {} \(NameNotFound"):
        make_image_world("NoSuchWorld-v0")
    with pytest.raises(ImageWorldError, match=r"Toy-v0 cannot be made with {'colour': 1} \(TypeError"):
        make_image_world(TOY, {"colour": 1})


def test_time_limits_are_found_in_spec_and_world():
    assert time_limit(gymnasium.make(TOY)) == 8
    assert time_limit(gymnasium.make(ENDLESS)) is None
    assert time_limit(make_image_world(MINIWORLD, {"size": 6, "max_episode_steps": 30})) == 30


def test_miniworld_is_shown_in_squares():
    env = make_image_world(MINIWORLD, {"size": 6, "max_episode_steps": 30}, rewards="sign")
    frame, _ = env.reset(seed=4)
    assert frame.shape == (64, 64, 3)
    np.testing.assert_array_equal(frame, squash(env.last_observation, 64))
    again, _ = env.reset(seed=4)
    np.testing.assert_array_equal(frame, again)
    seen = np.stack([env.reset(seed=seed)[0] for seed in range(8)]).astype(float)
    assert seen.std(0).mean() > 10  # somewhere else each time
    assert (seen[..., 0] - seen[..., 1]).max() > 80  # the red box is in sight from some places
    env.close()
