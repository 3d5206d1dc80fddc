"""LeRobot data sets come in as lerobot wrote them: `tests/wmgym/lerobot` is its own work (`lerobot_fixture.py`)."""

import json

import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete

from tests.wmgym import lerobot_fixture as fixture
from tests.wmgym.lerobot_sets import (
    DATA_FILE,
    EPISODES,
    FOLDER,
    FPS,
    IMAGE,
    LENGTHS,
    VIDEO,
    change_json,
    change_parquet,
    column,
    frames_of,
)
from wmgym.errors import RecordingError
from wmgym.lerobot_recordings import LeRobotRecordings
from wmgym.lerobot_video import decode_at

parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("av")


@pytest.mark.parametrize("episode", EPISODES)
def test_rows_become_the_steps_that_led_to_a_frame(episode):
    recordings = LeRobotRecordings(FOLDER, IMAGE)
    given = recordings.read(episode)
    np.testing.assert_array_equal(given.image, [fixture.image_frame(episode, row) for row in range(LENGTHS[episode])])
    np.testing.assert_array_equal(given.action[1:], column("action", episode)[:-1])
    np.testing.assert_array_equal(given.reward[1:], column("next.reward", episode)[:-1, 0])
    assert not given.action[0].any()
    assert given.reward[0] == 0
    assert (given.action.dtype, given.action_count, given.terminated) == (np.float32, 0, False)
    assert (given.policy, given.seed) == ("lerobot:lerobot", None)
    assert recordings.reward_dropped(episode) == column("next.reward", episode)[-1, 0]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("episode", EPISODES)
def test_lerobot_itself_reads_the_same(episode):
    """Where lerobot is installed; in CI the committed data set stands for it."""
    lerobot = pytest.importorskip("lerobot.datasets.lerobot_dataset")
    dataset = lerobot.LeRobotDataset("wmgym/fixture", root=FOLDER)
    rows = [dataset[index] for index in range(sum(LENGTHS[:episode]), sum(LENGTHS[: episode + 1]))]
    assert [int(row["frame_index"]) for row in rows] == list(range(LENGTHS[episode]))
    given = LeRobotRecordings(FOLDER, IMAGE).read(episode)
    np.testing.assert_array_equal(given.action[1:], [row["action"].numpy() for row in rows[:-1]])
    np.testing.assert_array_equal(given.reward[1:], [float(row["next.reward"]) for row in rows[:-1]])
    frames = {key: np.stack([np.moveaxis(row[key].numpy(), 0, -1) for row in rows]) for key in (IMAGE, VIDEO)}
    np.testing.assert_array_equal(given.image, np.rint(255 * frames[IMAGE]))
    ours = np.stack(list(decode_at(*frames_of(episode), FPS)))
    np.testing.assert_allclose(ours, 255 * frames[VIDEO], atol=2)  # decoders differ in how they round colours


@pytest.mark.filterwarnings("default")
def test_lerobot_itself_writes_what_is_read(tmp_path):
    """As above, for a data set written on the spot."""
    pytest.importorskip("lerobot.datasets.lerobot_dataset")
    fixture.write(tmp_path / "fresh")
    for key in (IMAGE, VIDEO):
        fresh, kept = (LeRobotRecordings(folder, key, frame_size=16) for folder in (tmp_path / "fresh", FOLDER))
        for episode in EPISODES:
            given, expected = fresh.read(episode), kept.read(episode)
            np.testing.assert_array_equal(given.action, expected.action)
            np.testing.assert_allclose(given.image, expected.image, atol=0 if key == IMAGE else 20)


def test_floats_are_a_box_of_what_occurs():
    space = LeRobotRecordings(FOLDER, IMAGE).action_space
    actions = np.concatenate([column("action", episode) for episode in EPISODES])
    expected = Box(np.float32([*actions.min(0)[:2], -0.5]), np.float32([*actions.max(0)[:2], 1.5]))
    assert space == expected  # the last number is 0.5 throughout


def test_integers_are_discrete_and_truth_values_too():
    keys = LeRobotRecordings(FOLDER, IMAGE, "key").read(1)
    np.testing.assert_array_equal(keys.action[1:], column("key", 1)[:-1, 0])
    assert (keys.action.dtype, keys.action_count, keys.action_space) == (np.int64, 5, None)
    switches = LeRobotRecordings(FOLDER, IMAGE, "switches").read(1)
    np.testing.assert_array_equal(switches.action[1:], column("switches", 1)[:-1] @ [2, 1])
    assert (switches.action_count, switches.action_space) == (4, MultiDiscrete([2, 2]))


@pytest.mark.parametrize("key", ["action", "key", "switches"])
def test_without_statistics_the_values_are_looked_through(lerobot_copy, key):
    (lerobot_copy / "meta/stats.json").unlink()
    assert (
        LeRobotRecordings(lerobot_copy, IMAGE, key).action_space == LeRobotRecordings(FOLDER, IMAGE, key).action_space
    )


def test_statistics_of_other_data_are_found_out(lerobot_copy):
    stats = json.loads((lerobot_copy / "meta/stats.json").read_text())
    stats["action"]["max"][0] = 0.9
    change_json(lerobot_copy / "meta/stats.json", **stats)
    recordings = LeRobotRecordings(lerobot_copy, IMAGE)
    recordings.read(0)
    with pytest.raises(RecordingError, match=r"episode 2 .*action 0 is \[1.0.*older than its data"):
        recordings.read(2)
    change_json(lerobot_copy / "meta/stats.json", action={"min": [0.0], "max": [1.0]})
    with pytest.raises(RecordingError, match=r"stats.json has min \[0.0\].*expected \[3\]"):
        LeRobotRecordings(lerobot_copy, IMAGE)


def test_actions_of_an_unknown_kind_are_refused(lerobot_copy):
    with pytest.raises(RecordingError, match=r"no feature 'steer'; found .*key, switches.*--action-key"):
        LeRobotRecordings(FOLDER, IMAGE, "steer")
    features = json.loads((lerobot_copy / "meta/info.json").read_text())["features"]
    features["action"]["dtype"] = "string"
    change_json(lerobot_copy / "meta/info.json", features=features)
    with pytest.raises(RecordingError, match=r"'action' has dtype 'string'.*expected numbers"):
        LeRobotRecordings(lerobot_copy, IMAGE)


def test_an_end_before_the_last_action_counts_unless_it_is_by_time(lerobot_copy):
    end = [row in (3, 10) for row in range(12)]
    change_parquet(lerobot_copy / DATA_FILE, **{"next.done": lambda _: end})
    recordings = LeRobotRecordings(lerobot_copy, IMAGE)
    assert [recordings.read(episode).terminated for episode in EPISODES] == [True, True, False]
    features = json.loads((lerobot_copy / "meta/info.json").read_text())["features"]
    features["next.truncated"] = features["next.done"]
    change_json(lerobot_copy / "meta/info.json", features=features)
    for path in sorted(lerobot_copy.glob("data/*/*.parquet")):
        table = parquet.read_table(path)
        parquet.write_table(table.append_column("next.truncated", [[row == 10 for row in range(len(table))]]), path)
    recordings = LeRobotRecordings(lerobot_copy, IMAGE)
    assert [recordings.read(episode).terminated for episode in EPISODES] == [True, False, False]


def test_without_rewards_all_are_zero(lerobot_copy):
    features = json.loads((lerobot_copy / "meta/info.json").read_text())["features"]
    change_json(
        lerobot_copy / "meta/info.json", features={k: v for k, v in features.items() if not k.startswith("next.")}
    )
    recordings = LeRobotRecordings(lerobot_copy, IMAGE)
    assert not recordings.read(2).reward.any()
    assert recordings.reward_dropped(2) == 0
