"""Episode files: written whole, read back equal, refused when damaged."""

import zipfile

import gymnasium
import numpy as np
import pytest

from wmgym import recording
from wmgym.errors import RecordingError
from wmgym.recording import (
    content_digest,
    read_episode,
    read_state,
    read_summary,
    record_episode,
    scan,
    write_episode,
)

STEPS = 7


class CountingEnv(gymnasium.Env):
    """Shows how often it was stepped, and pays for action 2."""

    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._observe()

    def step(self, action):
        self.count += 1
        self.last_action = action
        image, info = self._observe()
        return image, float(action == 2), False, self.count == STEPS, info

    def _observe(self):
        info = {
            "agent_pos": np.array([self.count, 0.5]),
            "maze_layout": np.ones((3, 3), np.int64),
            "other": 1,
        }
        return np.full((8, 8, 3), self.count, np.uint8), info


@pytest.fixture
def episode():
    actions = iter([2, 0, 1, 2, 3, 3, 1])
    return record_episode(CountingEnv(), lambda image, info: next(actions), seed=5, policy_name="list of seven")


@pytest.fixture
def path(tmp_path, episode):
    write_episode(tmp_path / "a.npz", episode)
    return tmp_path / "a.npz"


def rewrite(path, **changes):
    """Change arrays of a file, or drop those that become None."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files} | changes
    np.savez_compressed(path, **{key: value for key, value in arrays.items() if value is not None})


def test_row_t_belongs_to_frame_t(episode):
    assert episode.steps == STEPS
    assert episode.image[:, 0, 0, 0].tolist() == list(range(STEPS + 1))
    assert episode.action.tolist() == [0, 2, 0, 1, 2, 3, 3, 1]
    assert episode.reward.tolist() == [0, 1, 0, 0, 1, 0, 0, 0]
    assert episode.state["agent_pos"][:, 0].tolist() == list(range(STEPS + 1))
    assert set(episode.state) == {"agent_pos", "maze_layout"}


def test_reads_back_what_was_written(path, episode):
    again = read_episode(path)
    for name in ("image", "action", "reward"):
        np.testing.assert_array_equal(getattr(again, name), getattr(episode, name))
    for key, value in episode.state.items():
        np.testing.assert_array_equal(again.state[key], value)
    assert (again.action_count, again.seed, again.policy) == (4, 5, "list of seven")
    assert read_episode(path, state_keys=()).state == {}
    assert read_summary(path) == (STEPS + 1, 2.0, "list of seven")
    state, seed, policy = read_state(path)
    np.testing.assert_equal(state, episode.state)
    assert (seed, policy) == (5, "list of seven")
    assert set(read_state(path, ("agent_pos",))[0]) == {"agent_pos"}


def test_has_the_official_keys_and_types(path):
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    assert {key: value.dtype.name for key, value in arrays.items() if key not in ("policy", "seed")} == {
        "image": "uint8",
        "action": "float32",
        "reward": "float32",
        "terminal": "bool",
        "reset": "bool",
        "agent_pos": "float32",
        "maze_layout": "uint8",
    }
    assert arrays["action"].shape == (STEPS + 1, 4)
    assert arrays["action"].sum(axis=1).tolist() == [0] + [1] * STEPS
    assert arrays["reset"].tolist() == [True] + [False] * STEPS


def test_reads_official_files(path):
    with np.load(path) as archive:
        action, reward = archive["action"].astype(np.uint8), archive["reward"].astype(np.float64)
    action[0, 0] = 1
    rewrite(path, seed=None, policy=None, terminal=None, reset=None, action=action, reward=reward)
    episode = read_episode(path)
    assert (episode.seed, episode.policy) == (None, None)
    assert episode.reward.dtype == np.float32
    assert scan(path.parent).usable == [path]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"reward": None}, "missing reward"),
        ({"image": np.zeros((8, 8, 8, 3), np.float32)}, "image is float32"),
        ({"image": np.zeros((8, 8, 8), np.uint8)}, r"image is uint8 \(8, 8, 8\)"),
        ({"reward": np.zeros(7, np.float32)}, r"reward has shape \(7,\), expected 8 rows"),
        ({"agent_pos": np.zeros((3, 2), np.float32)}, r"agent_pos has shape \(3, 2\)"),
        ({"action": np.zeros(8, np.float32)}, "action is float32"),
        ({"reward": np.array(["a"] * 8)}, "reward is <U1"),
        ({"agent_pos": np.array([["a"]] * 8)}, "agent_pos is <U1"),
        ({"maze_layout": np.array([["a"]] * 8)}, "maze_layout is <U1"),
        ({"terminal": np.zeros(0, bool)}, r"terminal has shape \(0,\), expected 8 rows"),
        ({"seed": np.array([1, 2])}, r"seed is int64 \(2,\)"),
        ({"seed": np.float64("nan")}, "seed is float64"),
        ({"seed": np.str_("five")}, "seed is <U4"),
    ],
)
def test_arrays_that_do_not_fit_are_named(path, changes, named):
    rewrite(path, **changes)
    with pytest.raises(RecordingError, match=f"a.npz: {named}"):
        read_episode(path)
    assert list(scan(path.parent).unusable) == [path]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"action": np.zeros((8, 4), np.float32)}, "one-hot"),
        ({"action": np.full((8, 4), 0.25, np.float32)}, "one-hot"),
        ({"reward": np.full(8, np.nan, np.float32)}, "finite"),
        ({"reward": np.full(8, 1e300)}, "finite"),
    ],
)
def test_values_that_cannot_be_are_named(path, changes, named):
    rewrite(path, **changes)
    with pytest.raises(RecordingError, match=f"a.npz: .*{named}"):
        read_episode(path)


def test_truncated_file_is_named_and_counted(path, tmp_path):
    whole = path.read_bytes()
    cut, empty = tmp_path / "cut.npz", tmp_path / "empty.npz"
    cut.write_bytes(whole[: len(whole) // 2])
    empty.write_bytes(b"")
    for broken in (cut, empty, tmp_path / "absent.npz"):
        with pytest.raises(RecordingError, match=broken.name):
            read_episode(broken)
        with pytest.raises(RecordingError, match=broken.name):
            read_summary(broken)
    found = scan(tmp_path)
    assert found.usable == [path]
    assert sorted(file.name for file in found.unusable) == ["cut.npz", "empty.npz"]


def test_an_encrypted_file_is_named_and_counted(path):
    whole = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of each member, and of the table
        at = whole.find(magic)
        while at >= 0:
            whole[at + flags] |= 1
            at = whole.find(magic, at + 1)
    path.write_bytes(whole)
    assert list(scan(path.parent).unusable) == [path]
    for read in (read_episode, read_summary, read_state):
        with pytest.raises(RecordingError, match=r"a\.npz: .*encrypted"):
            read(path)


def test_a_file_that_claims_more_than_fits_into_memory_is_named(path):
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in arrays.items():
            with archive.open(f"{key}.npy", "w") as member:
                header = np.lib.format.header_data_from_array_1_0(value)
                shape = (2**50, 8, 8, 3) if key == "image" else value.shape
                np.lib.format.write_array_header_1_0(member, header | {"shape": shape})
                member.write(value.tobytes())
    with pytest.raises(RecordingError, match=r"a\.npz: cannot be read"):
        read_episode(path)


def test_the_digest_tells_contents_apart_and_not_names(path, episode):
    twin = path.with_name("b.npz")
    write_episode(twin, episode)
    assert content_digest(twin) == content_digest(path)
    rewrite(twin, reward=np.full(8, 0.5, np.float32))
    assert content_digest(twin) != content_digest(path)


def test_every_flipped_byte_of_the_images_is_noticed(path):
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("image.npy")
    start = member.header_offset + 30 + len("image.npy") + 20
    for position in range(start + 5, start + member.compress_size - 5, 7):
        damaged = whole.copy()
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(RecordingError, match=r"a\.npz"):
            read_episode(path)


def test_pickled_arrays_are_never_loaded(path):
    rewrite(path, policy=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RecordingError, match=r"a\.npz"):
        read_episode(path)


def test_failed_writing_leaves_nothing(tmp_path, episode, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(recording.np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="disk full"):
        write_episode(tmp_path / "a.npz", episode)
    assert list(tmp_path.iterdir()) == []


def test_scan_says_which_folder_is_missing(tmp_path):
    with pytest.raises(RecordingError, match=r"nowhere.*collect_episodes"):
        scan(tmp_path / "nowhere")


def test_only_discrete_actions_are_recorded():
    env = CountingEnv()
    env.action_space = gymnasium.spaces.Box(-1, 1, (2,))
    with pytest.raises(RecordingError, match="Box"):
        record_episode(env, lambda image, info: 0, seed=0, policy_name="none")
