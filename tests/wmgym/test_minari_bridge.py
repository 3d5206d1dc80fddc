"""Recordings go out to Minari and come back the same; Minari's own data sets come in. The real library throughout."""

import contextlib
import json
import socket

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

from wmgym.action_spaces import action_count, to_model
from wmgym.errors import RecordingError
from wmgym.minari_bridge import MinariRecordings, MinariWriter, folder_of
from wmgym.recording import Episode

minari = pytest.importorskip("minari")

SPACES = {
    "discrete": Discrete(6),
    "started": Discrete(3, start=-1),
    "multi": MultiDiscrete([2, 3]),
    "grid": MultiDiscrete([[2, 3], [4, 2]], start=[[0, 1], [5, 0]]),
    "box": Box(-1, 1, (3,)),
    "doubles": Box(np.array([[0.0, 1], [2, 3]]), np.array([[1.0, 2], [9, 4]]), dtype=np.float64),
}


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    """Minari's folder is a fresh one, and nothing may go out to the network."""

    def refuse(*_):
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def make_episode(space, steps, *, seed=None, policy=None, terminated=False, size=40, state=True):
    """Frames of noise, which JPEG would not keep, and random actions and rewards."""
    rng = np.random.default_rng(steps)
    space.seed(steps)
    actions = to_model(space, np.stack([space.sample() for _ in range(steps)]))
    plain = isinstance(space, Discrete) and space.start == 0
    known = {
        "agent_pos": rng.normal(size=(steps + 1, 2)).astype(np.float32),
        "maze_layout": rng.integers(0, 2, (steps + 1, 4, 4), np.uint8),
    }
    return Episode(
        image=rng.integers(0, 256, (steps + 1, size, size, 3), np.uint8),
        action=np.concatenate([np.zeros_like(actions[:1]), actions]),
        reward=np.concatenate([[0], rng.normal(size=steps)]).astype(np.float32),
        action_count=action_count(space),
        state=known if state else {},
        seed=seed,
        policy=policy,
        terminated=terminated,
        action_space=None if plain else space,
    )


def write(name, episodes, **settings):
    with MinariWriter(name, **settings) as writer:
        for episode in episodes:
            writer.add(episode)
    return writer.folder


def assert_same(given, expected):
    for name in ("image", "action", "reward"):
        assert getattr(given, name).dtype == getattr(expected, name).dtype, name
        np.testing.assert_array_equal(getattr(given, name), getattr(expected, name), err_msg=name)
    assert given.state.keys() == expected.state.keys()
    for key, values in expected.state.items():
        assert given.state[key].dtype == values.dtype
        np.testing.assert_array_equal(given.state[key], values)
    for name in ("action_count", "action_space", "seed", "terminated"):
        assert getattr(given, name) == getattr(expected, name), name


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_there_and_back_is_the_same(space, data_format):
    episodes = [
        make_episode(space, 1, seed=7, policy="explorer 0.2"),
        make_episode(space, 5, terminated=True),
        make_episode(space, 9, seed=0),
    ]
    write("maze/test-v3", episodes, data_format=data_format)
    back = MinariRecordings("maze/test-v3")
    assert back.numbers == [0, 1, 2]
    for number, episode in enumerate(episodes):
        assert_same(back.read(number), episode)
    assert [back.read(number).policy for number in (0, 1)] == [
        "minari:maze/test-v3 explorer 0.2",
        "minari:maze/test-v3",
    ]


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_minari_itself_reads_what_we_wrote(data_format):
    space = SPACES["box"]
    episodes = [make_episode(space, steps, seed=steps, policy="p", terminated=steps == 5) for steps in (5, 3)]
    write("plain-v0", episodes, env_id="wmgym/TextureWorld-v0", data_format=data_format)
    dataset = minari.load_dataset("plain-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 8)
    assert dataset.observation_space == Box(0, 255, (40, 40, 3), np.uint8)
    assert dataset.action_space == space
    for theirs, ours in zip(dataset.iterate_episodes(), episodes, strict=True):
        np.testing.assert_array_equal(theirs.observations, ours.image)
        np.testing.assert_array_equal(theirs.actions, ours.action[1:])
        np.testing.assert_array_equal(theirs.rewards, ours.reward[1:])
        np.testing.assert_array_equal(theirs.infos["agent_pos"], ours.state["agent_pos"])
        last = np.arange(ours.steps) == ours.steps - 1
        np.testing.assert_array_equal(theirs.terminations, last & ours.terminated)
        np.testing.assert_array_equal(theirs.truncations, last & (not ours.terminated))
    assert sorted(len(episode) for episode in dataset.sample_episodes(2)) == [3, 5]
    assert [told["seed"] for told in dataset.storage.get_episode_metadata([0, 1])] == [5, 3]
    assert dataset.filter_episodes(lambda episode: episode.terminations[-1]).total_episodes == 1
    world = dataset.recover_environment()
    assert world.spec.id == "wmgym/TextureWorld-v0"
    world.close()


def test_namespaces_are_known_to_minari(datasets):
    write("outer/inner/name-v1", [make_episode(SPACES["discrete"], 2)])
    assert list(minari.list_local_datasets()) == ["outer/inner/name-v1"]
    from minari.namespace import list_local_namespaces

    assert set(list_local_namespaces()) == {"outer", "outer/inner"}
    assert folder_of("outer/inner/name-v1") == datasets / "outer/inner/name-v1"


def test_nothing_is_overwritten_and_nothing_half_written_stays(datasets):
    folder = write("name-v0", [make_episode(SPACES["discrete"], 2)])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RecordingError, match=r"already; .*minari delete name-v0"):
        MinariWriter("name-v0")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with contextlib.suppress(KeyboardInterrupt), MinariWriter("other-v0") as writer:
        writer.add(make_episode(SPACES["discrete"], 2))
        raise KeyboardInterrupt
    with MinariWriter("empty-v0"):
        pass
    assert [path.name for path in datasets.iterdir()] == ["name-v0"]


@pytest.mark.parametrize("other", [{"size": 41}, {"space": Discrete(5)}])
def test_an_episode_of_another_space_is_refused_and_the_rest_kept(other):
    with MinariWriter("name-v0") as writer:
        writer.add(make_episode(SPACES["discrete"], 2))
        with pytest.raises(RecordingError, match="one space"):
            writer.add(make_episode(**{"space": SPACES["discrete"], "steps": 3, **other}))
        writer.add(make_episode(SPACES["discrete"], 4))
    assert minari.load_dataset("name-v0").total_steps == 6


def test_names_and_worlds_that_are_none_are_refused():
    for name in ("no-version", "../up-v0", "a b-v0", ""):
        with pytest.raises(ValueError, match="NAMESPACE/NAME-vNUMBER"):
            MinariWriter(name)
    with pytest.raises(ValueError, match="no such id is registered"):
        MinariWriter("name-v0", env_id="NoSuchWorld-v0")


# Data sets that Minari's own writer wrote.


def create(name, observation_space, observations, actions, action_space, *, rewards=None, jpeg=False, ends=None):
    from minari.data_collector import EpisodeBuffer

    steps = len(actions)
    buffer = EpisodeBuffer(
        seed=11,
        observations=observations,
        actions=list(actions),
        rewards=list(np.arange(steps, dtype=np.float64) if rewards is None else rewards),
        terminations=ends or [False] * steps,
        truncations=[False] * steps,
    )
    with pytest.warns(UserWarning, match="is set to None|env_spec is None"):
        minari.create_dataset_from_buffers(
            name, [buffer], observation_space=observation_space, action_space=action_space, jpeg_encoding=jpeg
        )


PICTURES = {
    "colours": (Box(0, 255, (36, 36, 3), np.uint8), lambda raw: raw),
    "first": (Box(0, 255, (3, 36, 36), np.uint8), lambda raw: np.moveaxis(raw, 1, -1)),
    "grey": (Box(0, 255, (36, 36), np.uint8), lambda raw: np.repeat(raw[..., None], 3, -1)),
    "grey with an axis": (Box(0, 255, (36, 36, 1), np.uint8), lambda raw: np.repeat(raw, 3, -1)),
}


def noise(space, rows):
    return np.random.default_rng(rows).integers(0, 256, (rows, *space.shape), np.uint8)


@pytest.mark.parametrize(("space", "expected"), PICTURES.values(), ids=PICTURES.keys())
def test_pictures_of_minari_come_in_as_they_are(space, expected):
    raw = noise(space, 5)
    create("name-v0", space, list(raw), [0, 2, 1, 2], Discrete(3), ends=[False, False, False, True])
    episode = MinariRecordings("name-v0").read(0)
    np.testing.assert_array_equal(episode.image, expected(raw))
    np.testing.assert_array_equal(episode.action, [0, 0, 2, 1, 2])
    np.testing.assert_array_equal(episode.reward, np.float32([0, 0, 1, 2, 3]))
    assert (episode.seed, episode.terminated, episode.policy) == (11, True, "minari:name-v0")


def test_pictures_that_minari_stored_as_jpeg_come_in_as_it_decodes_them():
    space = PICTURES["colours"][0]
    create("name-v0", space, list(noise(space, 3)), [0, 1], Discrete(3), jpeg=True)
    episode = MinariRecordings("name-v0").read(0)
    np.testing.assert_array_equal(episode.image, minari.load_dataset("name-v0")[0].observations)
    assert not np.array_equal(episode.image, noise(space, 3))


def test_a_picture_inside_a_dict_is_found_or_named():
    picture, other = Box(0, 255, (40, 40, 3), np.uint8), Box(0, 255, (32, 32, 3), np.uint8)
    space = Dict({"view": Dict({"rgb": picture}), "map": other, "speed": Box(-1, 1, (2,))})
    rows = {"view": {"rgb": noise(picture, 3)}, "map": noise(other, 3), "speed": np.zeros((3, 2), np.float32)}
    create("two-v0", space, rows, [0, 1], Discrete(2))
    with pytest.raises(RecordingError, match=r"2 are pictures \(map, view/rgb\).*--image-key"):
        MinariRecordings("two-v0")
    np.testing.assert_array_equal(MinariRecordings("two-v0", "view/rgb").read(0).image, rows["view"]["rgb"])
    np.testing.assert_array_equal(MinariRecordings("two-v0", "map").read(0).image, rows["map"])
    with pytest.raises(RecordingError, match=r"'depth' given, expected one of .*view/rgb"):
        MinariRecordings("two-v0", "depth")
    with pytest.raises(RecordingError, match="'speed' given, and that entry is"):
        MinariRecordings("two-v0", "speed")
    one = Dict({"rgb": picture, "speed": Box(-1, 1, (2,))})
    create("one-v0", one, {"rgb": noise(picture, 3), "speed": rows["speed"]}, [0, 1], Discrete(2))
    np.testing.assert_array_equal(MinariRecordings("one-v0").read(0).image, noise(picture, 3))


def test_frames_are_squashed_by_averaging_areas():
    space = Box(0, 255, (40, 80, 3), np.uint8)
    raw = noise(space, 3)
    create("name-v0", space, list(raw), [0, 1], Discrete(2))
    areas = raw.reshape(3, 20, 2, 20, 4, 3).mean(axis=(2, 4))
    given = MinariRecordings("name-v0", frame_size=20).read(0).image
    np.testing.assert_allclose(given, areas, atol=1.01)
    with pytest.raises(RecordingError, match=r"episode 0 .*40x80, expected squares.*--frame-size"):
        MinariRecordings("name-v0").read(0)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Box(0, 1, (40, 40, 3), np.float32), "float32 .*expected uint8"),
        (Box(0, 255, (4, 40, 40), np.uint8), "not stacks"),
        (Box(-1, 1, (7,)), "expected uint8"),
        (Dict({"speed": Box(-1, 1, (2,))}), "0 are pictures"),
    ],
)
def test_observations_without_pictures_are_refused(space, message):
    rows = {"speed": np.zeros((2, 2), np.float32)} if isinstance(space, Dict) else [space.sample() for _ in range(2)]
    create("name-v0", space, rows, [0], Discrete(2))
    with pytest.raises(RecordingError, match=message):
        MinariRecordings("name-v0")


@pytest.mark.parametrize("space", [MultiBinary(3), Box(-np.inf, np.inf, (2,)), MultiDiscrete([100, 100])])
def test_actions_that_cannot_be_recorded_are_refused(space):
    picture = PICTURES["colours"][0]
    create("name-v0", picture, list(noise(picture, 2)), [space.sample()], space)
    with pytest.raises(RecordingError, match=r"name-v0: .* given, .*expected"):
        MinariRecordings("name-v0")


def test_episodes_that_make_no_sense_are_named():
    picture, box = PICTURES["colours"][0], Box(-1, 1, (2,))
    rows = list(noise(picture, 3))
    create("outside-v0", picture, rows, np.float32([[0, 0], [0, 1.5]]), box)
    with pytest.raises(RecordingError, match=r"episode 0 .*action 1 is \[0.0, 1.5\].*does not contain"):
        MinariRecordings("outside-v0").read(0)
    create("index-v0", picture, rows, [0, 2], Discrete(2))
    with pytest.raises(RecordingError, match="action 1 is 2"):
        MinariRecordings("index-v0").read(0)
    create("nan-v0", picture, rows, [0, 1], Discrete(2), rewards=[0, np.nan])
    with pytest.raises(RecordingError, match="rewards are not finite"):
        MinariRecordings("nan-v0").read(0)
    create("short-v0", picture, rows[:2], [0, 1], Discrete(2))
    with pytest.raises(RecordingError, match="2 frames, 2 actions"):
        MinariRecordings("short-v0").read(0)


def test_an_action_outside_by_rounding_is_clipped():
    picture, box = PICTURES["colours"][0], Box(-1, 1, (2,))
    create("name-v0", picture, list(noise(picture, 3)), np.float32([[0, 0], [0, 1.00001]]), box)
    np.testing.assert_array_equal(MinariRecordings("name-v0").read(0).action[2], np.float32([0, 1]))


def test_a_data_set_that_is_not_there_is_not_fetched(datasets):
    with pytest.raises(RecordingError, match=r"no such data set.*MINARI_DATASETS_PATH.*minari download some/thing-v0"):
        MinariRecordings("some/thing-v0")


def test_damage_is_named():
    folder = write("name-v0", [make_episode(SPACES["discrete"], steps) for steps in (3, 4)])
    (folder / "data/main_data.hdf5").write_bytes(b"nothing")
    with pytest.raises(RecordingError, match="name-v0: episode 1 cannot be used"):
        MinariRecordings("name-v0").read(1)
    metadata = folder / "data/metadata.json"
    told = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**told, "minari_version": "9.9.9"}))
    with pytest.raises(RecordingError, match="cannot be opened"):
        MinariRecordings("name-v0")
    metadata.write_text("{")
    with pytest.raises(RecordingError, match="cannot be opened"):
        MinariRecordings("name-v0")


def test_one_damaged_episode_leaves_the_others():
    episodes = [make_episode(SPACES["discrete"], steps) for steps in (3, 4, 5)]
    folder = write("name-v0", episodes, data_format="parquet")
    (victim,) = (folder / "data/1").glob("*.parquet")
    victim.write_bytes(victim.read_bytes()[:100])
    recordings = MinariRecordings("name-v0")
    with pytest.raises(RecordingError, match="episode 1 cannot be used"):
        recordings.read(1)
    assert_same(recordings.read(2), episodes[2])


def test_a_long_episode_in_one_piece():
    episode = make_episode(SPACES["discrete"], 1500, size=32, state=False)
    write("name-v0", [episode], data_format="parquet")
    assert_same(MinariRecordings("name-v0").read(0), episode)
