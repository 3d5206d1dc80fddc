"""A trained model under an id of its own, and the way back to the world it was recorded from."""

import json
import shutil
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Discrete, MultiDiscrete

import wmgym
from tests.wmgym.image_worlds import ACTIONS, TOY
from wmgym.action_spaces import to_model
from wmgym.checkpoint import open_checkpoint
from wmgym.env import DreamEnv
from wmgym.errors import CheckpointError, InvalidActionError
from wmgym.recorded_world import WORLD_FILE, RecordedWorld, copy_world, read_world
from wmgym.vector_env import DreamVectorEnv
from wmgym.watched_mazes import longest_episode, watched_maze
from wmgym.wrappers import WorldModelObservation

SIX = {"pairs": ACTIONS["pairs"], "from_two": Discrete(6, start=2)}
PAIRS = RecordedWorld(TOY, ACTIONS["pairs"], 5, {"actions": "pairs"})


@pytest.fixture(autouse=True)
def forget_ids():
    """What is registered by a test is gone after it."""
    before = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.fixture
def folder(micro_folder, tmp_path):
    """A checkpoint of six actions that was recorded from the toy world with its two numbers an action."""
    copied = tmp_path / "toy"
    shutil.copytree(micro_folder, copied)
    (copied / WORLD_FILE).write_text(json.dumps(PAIRS.to_json()))
    return copied


def test_a_registered_model_is_made_by_its_id(folder):
    wmgym.register_dream("Test/Toy-v0", folder)
    spec = gymnasium.spec("Test/Toy-v0")
    assert json.loads(spec.to_json())["kwargs"] == {"checkpoint": str(folder.resolve())}
    with gymnasium.make("Test/Toy-v0", observation="latent") as env:
        assert isinstance(env.unwrapped, DreamEnv)
        assert env.spec.max_episode_steps == 5  # as it was recorded
        env.reset(seed=0)
        ends = [env.step(env.action_space.sample())[3] for _ in range(5)]
        assert ends == [False] * 4 + [True]
    envs = gymnasium.make_vec("Test/Toy-v0", 2, vectorization_mode="vector_entry_point", observation="latent")
    assert isinstance(envs, DreamVectorEnv)
    assert (envs.max_episode_steps, envs.single_action_space) == (5, MultiDiscrete([3, 2], start=[1, 0]))


def test_the_limit_is_the_one_given_the_recorded_one_or_that_of_the_shipped_dream(folder, micro_folder):
    wmgym.register_dream("Given-v0", folder, 7)
    wmgym.register_dream("Endless-v1", folder, -1)
    wmgym.register_dream("Unknown-v0", micro_folder)
    limits = [gymnasium.spec(name).max_episode_steps for name in ("Given-v0", "Endless-v1", "Unknown-v0")]
    assert limits == [7, None, 1000]


def test_an_id_that_is_taken_is_refused_and_the_same_again_is_not(folder, micro_folder):
    wmgym.register_dream("Toy-v3", folder)
    wmgym.register_dream("Toy-v3", str(folder))
    for other in ((micro_folder,), (folder, 9)):
        with pytest.raises(ValueError, match=r"'Toy-v3' given, which is taken by .*toy with max_episode_steps = 5"):
            wmgym.register_dream("Toy-v3", *other)
    with pytest.raises(ValueError, match=r"taken by wmgym\.env:DreamEnv"):
        wmgym.register_dream("LSSVWM-MemoryMaze-v0", folder)
    assert gymnasium.spec("LSSVWM-MemoryMaze-v0").kwargs == {}


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (("not an id", "{folder}"), ValueError, "id = 'not an id' given, expected a name such as"),
        (("A-v0", "{folder}/nowhere/at/all"), CheckpointError, "there is no such folder"),
        (("A-v0", "{folder}/.."), CheckpointError, "lacks config.json and model.safetensors"),
        (("A-v0", "{folder}", 0), ValueError, "max_episode_steps = 0 given, expected 1 or more"),
    ],
)
def test_what_cannot_be_registered_is_named(arguments, error, named, folder):
    given = [part.format(folder=folder) if isinstance(part, str) else part for part in arguments]
    before = dict(gymnasium.registry)
    with pytest.raises(error, match=named):
        wmgym.register_dream(*given)
    assert dict(gymnasium.registry) == before


def test_registering_needs_no_torch(folder):
    program = (
        "import sys, wmgym, gymnasium\n"
        f"wmgym.register_dream('Cheap-v0', {str(folder)!r})\n"
        "assert 'torch' not in sys.modules\n"
        "gymnasium.make('Cheap-v0').reset(seed=0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("kind", list(SIX))
def test_a_dream_takes_the_actions_of_the_recorded_world(kind, micro_folder, tmp_path):
    space = SIX[kind]
    copied = tmp_path / "other"
    shutil.copytree(micro_folder, copied)
    (copied / WORLD_FILE).write_text(json.dumps(RecordedWorld(TOY, space, 5).to_json()))
    own = DreamVectorEnv(3, checkpoint=copied, observation="latent")
    counted = DreamVectorEnv(3, checkpoint=micro_folder, observation="latent")
    assert own.single_action_space == space
    assert counted.single_action_space == Discrete(6)
    np.testing.assert_array_equal(own.reset(seed=1)[0], counted.reset(seed=1)[0])
    own.action_space.seed(0)
    seen = set()
    for _ in range(6):
        actions = own.action_space.sample()
        index = to_model(space, actions)
        seen |= set(index.tolist())
        np.testing.assert_array_equal(own.step(actions)[0], counted.step(index)[0])
    assert len(seen) > 3
    single = DreamEnv(checkpoint=copied, observation="latent")
    single.reset(seed=0)
    single.step(space.sample())


@pytest.mark.parametrize(
    ("kind", "actions"), [("pairs", [[1, 0], [0, 0]]), ("pairs", [1, 1]), ("from_two", [1, 2]), ("from_two", [2.5, 2])]
)
def test_actions_of_another_space_are_refused(kind, actions, micro_folder, tmp_path):
    copied = tmp_path / "other"
    shutil.copytree(micro_folder, copied)
    (copied / WORLD_FILE).write_text(json.dumps(RecordedWorld(TOY, SIX[kind], 5).to_json()))
    envs = DreamVectorEnv(2, checkpoint=copied, observation="latent")
    envs.reset(seed=0)
    with pytest.raises(InvalidActionError, match=r"expected elements of (Multi)?Discrete"):
        envs.step(np.array(actions))


def test_contexts_hold_the_actions_of_the_recorded_world(folder, micro_folder):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    actions = np.array([[0, 0], [3, 1], [1, 1]])  # the first means nothing
    own = DreamEnv(checkpoint=folder, observation="features")
    counted = DreamEnv(checkpoint=micro_folder, observation="features")
    shown, _ = own.reset(seed=0, options={"context": {"frames": frames, "actions": actions}})
    expected, _ = counted.reset(seed=0, options={"context": {"frames": frames, "actions": [0, 5, 1]}})
    np.testing.assert_array_equal(shown, expected)


def test_the_real_world_has_the_spaces_of_the_dream(folder):
    dream, real = DreamEnv(checkpoint=folder), wmgym.real_world(folder)
    assert (real.observation_space, real.action_space) == (dream.observation_space, dream.action_space)
    watched = WorldModelObservation(real, folder)
    features, _ = watched.reset(seed=0)
    assert watched.observation_space.contains(features)
    steps, over = 0, False
    while not over:
        features, _, *ends, _ = watched.step(watched.action_space.sample())
        steps, over = steps + 1, any(ends)
    assert steps <= 5
    with pytest.raises(InvalidActionError, match="expected elements of MultiDiscrete"):
        watched.step(5)


@pytest.mark.parametrize("told", [True, False])
def test_whole_numbers_of_another_type_than_int64_are_the_recorded_worlds(told, folder):
    """As files are written now, and as those are from before, which tell no type."""
    facts = RecordedWorld(TOY, ACTIONS["six_int32"], 5, {"actions": "six_int32"}).to_json()
    if not told:
        facts["action_space"] = '{"type": "MultiDiscrete", "nvec": [3, 2], "start": [0, 0]}'
    (folder / WORLD_FILE).write_text(json.dumps(facts))
    assert DreamEnv(checkpoint=folder).action_space.dtype == (np.int32 if told else np.int64)
    watched = watched_maze(4, checkpoint=str(folder))
    assert watched.action_space.dtype == np.int32
    watched.reset(seed=0)
    for action in (np.array([2, 1]), watched.action_space.sample()):  # as a policy draws it, and as the space has it
        watched.step(action)  # the world asserts that it is in its space


def test_what_the_model_sees_follows_the_actions_that_were_taken(folder):
    """The wrapper counts actions as the recordings did: as if the frames had been the context of a dream."""
    watched = WorldModelObservation(wmgym.real_world(folder), folder)
    real = wmgym.real_world(folder)
    actions = [[2, 1], [3, 0]]
    frames = [real.reset(seed=0)[0]] + [real.step(action)[0] for action in actions]
    watched.reset(seed=0)
    shown = [watched.step(np.array(action))[0] for action in actions][-1]
    context = {"frames": np.stack(frames), "actions": np.array([[1, 0], *actions])}
    expected, _ = DreamEnv(checkpoint=folder, observation="features").reset(options={"context": context})
    np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_a_checkpoint_that_does_not_say_has_no_real_world(micro_folder):
    with pytest.raises(CheckpointError, match=r"has no world\.json"):
        wmgym.real_world(micro_folder)


def test_the_shipped_checkpoint_is_of_the_maze():
    recorded = open_checkpoint().recorded
    assert (recorded.env, recorded.max_episode_steps) == ("wmgym/MemoryMaze-9x9-v0", 1000)
    assert longest_episode(None) == 1000


def test_policies_are_judged_where_the_checkpoint_was_recorded(folder):
    env = watched_maze(4, checkpoint=str(folder))
    frames = [env.reset(seed=3)[0]]
    while len(frames) < 5:
        frames.append(env.step(env.action_space.sample())[0])
    assert frames[0].shape == env.observation_space.shape
    assert env.render().shape == (64, 64, 3)
    assert env.step(env.action_space.sample())[3] or len(frames) == 5
    assert longest_episode(str(folder)) == 5
    with pytest.raises(ValueError, match="only there recorded walks can be taken again"):
        watched_maze(4, checkpoint=str(folder), global_observables=True)


@pytest.mark.parametrize("damage", ["{", "[]", '{"env": "a"}'])
def test_a_damaged_world_is_refused(damage, folder):
    (folder / WORLD_FILE).write_text(damage)
    with pytest.raises(CheckpointError, match=r"world\.json cannot be read"):
        open_checkpoint(folder)


@pytest.mark.parametrize("other", [Discrete(5), MultiDiscrete([3, 3])])
def test_a_world_of_another_model_is_refused(other, folder):
    (folder / WORLD_FILE).write_text(json.dumps(RecordedWorld(TOY, other, 5).to_json()))
    with pytest.raises(
        CheckpointError, match=r"world\.json of checkpoint .* tells of (Multi)?Discrete\(.*the model has 6 actions"
    ):
        open_checkpoint(folder)


def test_training_copies_what_the_recordings_say(tmp_path):
    recordings, checkpoint = tmp_path / "recordings", tmp_path / "checkpoint"
    recordings.mkdir()
    checkpoint.mkdir()
    copy_world(recordings, checkpoint)
    (recordings / "collection.json").write_text("{}")  # as earlier releases left it
    copy_world(recordings, checkpoint)
    assert read_world(checkpoint) is None
    (recordings / "collection.json").write_text(json.dumps({"world": PAIRS.to_json()}))
    copy_world(recordings, checkpoint)
    assert read_world(checkpoint) == PAIRS
    (recordings / "collection.json").write_text('{"world": {"env": 3}}')
    with pytest.raises(CheckpointError, match=r"collection\.json cannot be read"):
        copy_world(recordings, checkpoint)
