"""Any Gymnasium image world through the collection script: what is recorded, in what order, and what is refused."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from agents.space_walkers import SmoothActions, StickyActions, UniformActions, make_random_walker, random_mixture
from experiments.collect_episodes import (
    Args,
    choose_seeds,
    file_of,
    main,
    open_world,
    start_worker,
    who_walks,
    world_of,
)
from tests.wmgym.image_worlds import ACTIONS, ENDLESS, TOY
from wmgym.action_spaces import from_model, to_model
from wmgym.errors import ImageWorldError, RecordingError
from wmgym.recorded_world import RecordedWorld
from wmgym.recording import read_episode, record_episode, scan, write_episode

MINIWORLD = "miniworld:MiniWorld-OneRoom-v0"
SMALL = '{"size": 6, "max_episode_steps": 30}'


def forwards(env, rng):
    """A policy of one's own: sees what the world itself shows."""
    assert rng.random() < 1
    return lambda observation, info: 2 if env.last_observation is not None else None


def no_policy(env, rng):
    return 3


def out_of_range(env, rng):
    return lambda observation, info: 77


def collect(folder, env, episodes=3, **settings):
    """Record in this process; return the episodes."""
    args = Args(folder, episodes=episodes, env=env, workers=1, **settings)
    folder.mkdir(exist_ok=True)
    record = start_worker(args, world_of(args))
    for seed in choose_seeds(args):
        record(seed)
    return [read_episode(path) for path in scan(folder).usable]


@pytest.mark.parametrize("kind", list(ACTIONS))
def test_every_kind_of_action_is_recorded_and_leads_to_its_frame(kind, tmp_path):
    space = ACTIONS[kind]
    episodes = collect(tmp_path / "out", TOY, 12, env_args=json.dumps({"actions": kind}), frame_size=32)
    assert len({episode.steps for episode in episodes}) > 2  # they end by themselves, or after 8 steps
    assert {episode.terminated for episode in episodes} == {True, False}
    for episode in episodes:
        assert episode.image.shape[1:] == (32, 32, 3)
        assert (episode.action_space or Discrete(episode.action_count)) == space
        counts = {"discrete": 3, "six": 6, "from_one": 4, "pairs": 6, "six_int32": 6, "box": 0}
        assert episode.action_count == counts[kind]
        chosen = from_model(space, episode.action[1:])
        assert all(space.contains(action) for action in chosen)
        reds = [int(np.sum(np.asarray(action, np.float64) * 10)) % 256 for action in chosen]
        env = gymnasium.make(TOY, actions=kind)
        env.reset(seed=episode.seed)
        for action, red in zip(chosen, reds, strict=True):
            assert env.step(action)[0][0, 0, 0] == red
        assert episode.terminated == (env.unwrapped.ends_after == episode.steps)


def test_box_actions_are_kept_as_they_are(tmp_path):
    env = gymnasium.make(TOY, actions="box")
    taken = [np.array(a, np.float32) for a in ([0.3, 0.7], [-2, 0], [2, 1], [1e-7, 0.1])]
    episode = record_episode(env, lambda *_: taken.pop(0), seed=3, policy_name="list", max_steps=4)
    write_episode(tmp_path / "a.npz", episode)
    again = read_episode(tmp_path / "a.npz")
    assert again.action.dtype == np.float32
    np.testing.assert_array_equal(again.action[0], 0)
    np.testing.assert_array_equal(again.action[1:3], np.array([[0.3, 0.7], [-2, 0]], np.float32))
    assert (again.action_count, again.action_space) == (0, ACTIONS["box"])
    with np.load(tmp_path / "a.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    for change, named in (
        ({"action": arrays["action"] * 3}, "leaves Box"),
        ({"action": arrays["action"][:, :1]}, "action has 1 columns, expected 2"),
        ({"action": np.full_like(arrays["action"], np.nan)}, "leaves Box"),
        ({"action_space": np.str_("{}")}, "is no action space"),
        ({"action_space": np.float64(3)}, "action_space is float64, expected text"),
    ):
        np.savez(tmp_path / "b.npz", **(arrays | change))
        with pytest.raises(RecordingError, match=f"b.npz: .*{named}"):
            read_episode(tmp_path / "b.npz")


def test_pairs_are_stored_one_hot_by_their_number(tmp_path):
    (episode,) = collect(tmp_path / "out", TOY, 1, env_args='{"actions": "pairs"}')
    with np.load(file_of(tmp_path / "out", 0)) as archive:
        assert archive["action"].shape == (len(episode.image), 6)
        assert str(archive["action_space"]) == '{"type": "MultiDiscrete", "nvec": [3, 2], "start": [1, 0]}'
    pairs = from_model(ACTIONS["pairs"], episode.action)
    np.testing.assert_array_equal(to_model(ACTIONS["pairs"], pairs), episode.action)


def test_one_hot_of_another_space_is_refused(tmp_path):
    collect(tmp_path / "out", TOY, 1, env_args='{"actions": "pairs"}')
    path = file_of(tmp_path / "out", 0)
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    np.savez(path, **(arrays | {"action": arrays["action"][:, :5]}))
    with pytest.raises(RecordingError, match=r"one-hot|5 columns, expected 6"):
        read_episode(path)


@pytest.mark.parametrize("space", [*ACTIONS.values(), MultiDiscrete([[2, 3], [4, 5]]), Box(-1, 1, (2, 2))])
def test_walkers_stay_in_any_space_and_follow_their_seed(space):
    walkers = [UniformActions, lambda s, r: StickyActions(s, r, 0.7)]
    walkers += [lambda s, r: SmoothActions(s, r, 0.9)] if isinstance(space, Box) else []
    for make in walkers:
        first, second, other = (make(space, np.random.default_rng(seed)) for seed in (1, 1, 2))
        actions = [first.act(None, {}) for _ in range(200)]
        assert all(space.contains(action) for action in actions)
        np.testing.assert_array_equal(actions, [second.act(None, {}) for _ in range(200)])
        assert any(not np.array_equal(a, other.act(None, {})) for a in actions)


def test_sticky_actions_repeat_as_often_as_they_say():
    walker = StickyActions(Discrete(50), np.random.default_rng(0), 0.8)
    actions = np.array([walker.act(None, {}) for _ in range(5000)])
    assert (actions[1:] == actions[:-1]).mean() == pytest.approx(0.8 + 0.2 / 50, abs=0.03)  # five standard deviations


def test_smooth_noise_changes_slowly_and_reaches_the_bounds():
    space = Box(np.array([-4, 10], np.float32), np.array([4, 12], np.float32))
    walker = SmoothActions(space, np.random.default_rng(0), 0.9)
    share = (np.array([walker.act(None, {}) for _ in range(20_000)]) - [0, 11]) / [4, 1]
    assert np.abs(share.mean(0)).max() < 0.05
    inside = np.random.default_rng(1).normal(scale=0.7, size=100_000).clip(-1, 1)
    assert share.std(0) == pytest.approx(inside.std(), abs=0.03)
    assert ((share[1:] * share[:-1]).mean(0) / share.var(0)) == pytest.approx(0.88, abs=0.05)
    with pytest.raises(ValueError, match="0 <= keep < 1"):
        SmoothActions(space, np.random.default_rng(0), 1.0)


@pytest.mark.parametrize("space", [Discrete(3), Box(-1, 1, (2,))])
def test_the_random_mixture_is_what_is_documented(space):
    names = [make_random_walker(space, seed)[1] for seed in range(1500)]
    for kind, share in random_mixture(space).items():
        assert np.mean([name.split()[0] == kind for name in names]) == pytest.approx(share, abs=0.06)
    amounts = [float(name.split("=")[1]) for name in names if "=" in name]
    assert 0.5 <= min(amounts) < 0.53 < 0.92 < max(amounts) <= 0.95


def test_miniworld_is_recorded_by_the_script_itself(tmp_path):
    """In a process of its own, as a user's command does; on again where it stopped."""
    settings = {"env": MINIWORLD, "env_args": SMALL, "rewards": "sign", "frame_size": 32, "workers": 1}
    summary = main(Args(tmp_path, episodes=4, **settings))
    assert (summary["episodes"], summary["failed_in_last_run"], summary["frame_size"]) == (4, 0, 32)
    world = RecordedWorld.from_json(summary["world"])
    assert (world.max_episode_steps, world.rewards, world.action_space) == (30, "sign", Discrete(3))
    assert json.loads((tmp_path / "collection.json").read_text())["world"] == summary["world"]
    assert choose_seeds(Args(tmp_path, episodes=5, **settings)) == [4]
    real = world.make()
    for path in scan(tmp_path).usable:
        episode = read_episode(path)
        frames = [real.reset(seed=episode.seed)[0]]
        for action in episode.action[1:]:
            frame, reward, terminated, *_ = real.step(action)
            frames.append(frame)
        assert reward == episode.reward[-1] == float(terminated) == float(episode.terminated)
        assert np.abs(np.stack(frames).astype(int) - episode.image).max() <= 2  # drawn by another process
    real.close()


def test_cartpole_is_recorded_as_it_is_drawn(tmp_path):
    episodes = collect(tmp_path / "out", "CartPole-v1", 3, pixels="render")
    lengths = [len(episode.image) for episode in episodes]
    assert all(episode.terminated for episode in episodes)
    assert len(set(lengths)) > 1
    for episode in episodes:
        assert episode.image.shape == (episode.steps + 1, 64, 64, 3)
        assert (episode.reward[1:] == 1).all()
        assert (episode.image[0] != episode.image[-1]).any()
    drawn = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    drawn.reset(seed=0)
    blocks = drawn.render()[:384, :576].reshape(384, 576, 3)
    assert episodes[0].image[0].mean() == pytest.approx(blocks.mean(), abs=15)
    args = Args(tmp_path / "out", episodes=4, env="CartPole-v1", pixels="render", workers=1)
    assert world_of(args).max_episode_steps == 500


def test_max_steps_end_episodes_and_are_needed_where_nothing_else_does(tmp_path):
    episodes = collect(tmp_path / "out", ENDLESS, 2, max_steps=5)
    assert [(episode.steps, episode.terminated) for episode in episodes] == [(5, False)] * 2
    assert world_of(Args(tmp_path, episodes=1, env=ENDLESS, max_steps=5)).make().spec.max_episode_steps == 5
    with pytest.raises(ImageWorldError, match=r"Endless-v0 tells no time limit.*Fix: --max-steps 500"):
        choose_seeds(Args(tmp_path / "new", episodes=1, env=ENDLESS))


def test_a_policy_of_ones_own_is_recorded(tmp_path):
    name = f"{__name__}:forwards"
    episodes = collect(tmp_path / "out", TOY, 2, policy=name)
    assert all((episode.action[1:] == 2).all() and episode.policy == name for episode in episodes)


@pytest.mark.parametrize(
    ("policy", "error", "named"),
    [
        ("forwards", ValueError, "--policy forwards given. Expected module:function"),
        ("no.such.module:walk", ValueError, r"cannot be imported \(ModuleNotFoundError"),
        (f"{__name__}:absent", ValueError, r"cannot be imported \(AttributeError"),
        (f"{__name__}:SMALL", ValueError, "is a str, which cannot be called"),
        (f"{__name__}:no_policy", ValueError, "returned a int, expected something to be called"),
        ("math:sqrt", ValueError, r"could not make a policy \(TypeError"),
        (f"{__name__}:out_of_range", RecordingError, r"gave the action 77, expected an element of Discrete\(3\)"),
    ],
)
def test_a_policy_that_cannot_act_is_named(policy, error, named, tmp_path):
    with pytest.raises(error, match=named):
        collect(tmp_path / "out", TOY, 1, policy=policy)


@pytest.mark.parametrize(
    ("settings", "error", "named"),
    [
        ({"env": "NoSuchWorld-v0"}, ImageWorldError, "NoSuchWorld-v0 cannot be made"),
        ({"env": TOY, "env_args": "size=6"}, ValueError, "--env-args size=6 given, expected JSON"),
        ({"env": TOY, "env_args": "[6]"}, ValueError, r"--env-args \[6\] given, expected a JSON object"),
        ({"env": TOY, "frame_size": 50}, ValueError, "frame_size = 50 given, expected a multiple of 8"),
        ({"env": TOY, "walkers": "explorer"}, ValueError, "explorers look for targets in mazes"),
        ({"env": "CartPole-v1"}, ImageWorldError, "Fix: --pixels render"),
        ({"env": TOY, "env_args": '{"observation": "grey"}'}, ImageWorldError, "It is grayscale"),
        ({"env": TOY, "env_args": '{"observation": "lying"}'}, ImageWorldError, "gave float32"),
        ({"env": "wmgym/TextureWorld-v0", "pixels": "render"}, ValueError, "which is recorded as it is"),
    ],
)
def test_a_world_that_cannot_be_recorded_is_refused_at_once(settings, error, named, tmp_path):
    with pytest.raises(error, match=named):
        choose_seeds(Args(tmp_path, episodes=1, **settings))


def test_one_way_a_folder(tmp_path):
    world = world_of(Args(tmp_path, episodes=1, env=TOY))
    (tmp_path / "collection.json").write_text(json.dumps({"env": TOY, "world": world.to_json()}))
    assert choose_seeds(Args(tmp_path, episodes=1, env=TOY, max_steps=6)) == [0]
    with pytest.raises(ValueError, match="rewards 'real' there, 'sign' asked for"):
        choose_seeds(Args(tmp_path, episodes=1, env=TOY, rewards="sign"))
    with pytest.raises(ValueError, match=r"env_args {} there, .*'actions': 'pairs'.*action_space"):
        choose_seeds(Args(tmp_path, episodes=1, env=TOY, env_args='{"actions": "pairs"}'))


def test_random_walkers_are_for_wmgyms_own_worlds_too():
    args = Args("unused", episodes=1, env="wmgym/TextureWorld-v0", walkers="random")
    env = open_world(args, world_of(args))
    assert who_walks(args, env, 5)[1] == make_random_walker(env.action_space, 5)[1]


def test_a_dictionary_of_images_asks_which(tmp_path):
    args = {"env": TOY, "env_args": '{"observation": "two_images"}'}
    with pytest.raises(ImageWorldError, match=r"its images are \['camera', 'map'\]"):
        choose_seeds(Args(tmp_path, episodes=1, **args))
    (episode,) = collect(tmp_path / "out", TOY, 1, env_args=args["env_args"], image_key="map")
    assert (episode.image == 7).all()
    assert isinstance(gymnasium.make(TOY, observation="two_images").observation_space, Dict)
