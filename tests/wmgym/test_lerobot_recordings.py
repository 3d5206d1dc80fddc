"""LeRobot data sets come in as lerobot wrote them: `tests/wmgym/lerobot` is its own work (`lerobot_fixture.py`)."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete

from wmgym import lerobot_video
from wmgym.errors import RecordingError
from wmgym.lerobot_recordings import LeRobotRecordings
from wmgym.lerobot_video import decode_at

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
av = pytest.importorskip("av")

FOLDER = Path(__file__).parent / "lerobot"
_spec = importlib.util.spec_from_file_location("lerobot_fixture", Path(__file__).parent / "lerobot_fixture.py")
fixture = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fixture)
LENGTHS, VIDEO, IMAGE, FPS = fixture.LENGTHS, fixture.VIDEO, fixture.IMAGE, float(fixture.FPS)
EPISODES = range(len(LENGTHS))
VIDEO_FILE = f"videos/{VIDEO}/chunk-000/file-000.mp4"
DATA_FILE = "data/chunk-000/file-000.parquet"
EPISODES_FILE = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture
def copy(tmp_path):
    """The data set where it may be damaged."""
    return Path(shutil.copytree(FOLDER, tmp_path / "copy"))


def column(name, episode):
    return np.stack([fixture.row_of(episode, row)[name] for row in range(LENGTHS[episode])])


def change_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_parquet(path, **changes):
    """Write columns of a file anew, as functions of their values."""
    table = parquet.read_table(path)
    for name, change in changes.items():
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pyarrow.array(change(table[name].to_pylist()), field.type))
    parquet.write_table(table, path)


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


@pytest.mark.parametrize("episode", EPISODES)
def test_frames_of_an_episode_are_found_in_a_video_of_many(episode):
    """Each is nearest to the frame that was written there, among all that were."""
    given = list(decode_at(*_where(episode), FPS))
    written = [fixture.video_frame(other, row) for other in EPISODES for row in range(LENGTHS[other])]
    first = sum(LENGTHS[:episode])
    for row, frame in enumerate(given):
        errors = [np.abs(frame.astype(float) - other).mean() for other in written]
        assert int(np.argmin(errors)) == first + row
        assert min(errors) < 6, "AV1 at lerobot's quality errs by about 1 grey level, 5 in the worst frame"


def _where(episode):
    """Return the file of an episode, and the times of its frames there, worked out by hand."""
    start = (0, LENGTHS[0] / FPS, 0)[episode]
    file = FOLDER / f"videos/{VIDEO}/chunk-000/file-00{(0, 0, 1)[episode]}.mp4"
    return file, start + np.arange(LENGTHS[episode]) / FPS


@pytest.mark.parametrize("episode", EPISODES)
def test_videos_become_square_frames(episode):
    from PIL import Image

    squashed = [
        Image.fromarray(frame).resize((16, 16), Image.Resampling.BOX) for frame in decode_at(*_where(episode), FPS)
    ]
    given = LeRobotRecordings(FOLDER, VIDEO, frame_size=16).read(episode).image
    np.testing.assert_allclose(given, np.stack(squashed), atol=1)  # one pass or two: rounding
    with pytest.raises(RecordingError, match=r"48x64, expected squares.*--frame-size"):
        LeRobotRecordings(FOLDER, VIDEO).read(episode)


def test_only_the_episode_is_decoded(monkeypatch):
    decoded = []
    frames_from = lerobot_video._frames_from

    def watch(*arguments):
        for time, frame in frames_from(*arguments):
            decoded.append(time)
            yield time, frame

    monkeypatch.setattr(lerobot_video, "_frames_from", watch)
    LeRobotRecordings(FOLDER, VIDEO, frame_size=16).read(1)
    assert len(decoded) <= LENGTHS[1] + 1  # a key frame every two
    assert min(decoded) >= 0.4


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
    ours = np.stack(list(decode_at(*_where(episode), FPS)))
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


@pytest.mark.parametrize("options", [{"g": "12", "bf": "3"}, {"g": "250", "bf": "0"}])
def test_frames_are_found_between_key_frames_far_apart(tmp_path, options):
    """As data sets of other recorders have them: frames that refer to later ones, stored out of order."""
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for level in range(20, 245, 5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for first, count in ((0, 5), (20, 11), (44, 1)):
        given = list(decode_at(path, np.arange(first, first + count) / FPS, FPS))
        levels = [frame.mean() for frame in given]
        expected = 20 + 5 * np.arange(first, first + count)
        np.testing.assert_allclose(levels, expected, atol=2.4)  # less than half of what frames differ by


# Action spaces.


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
def test_without_statistics_the_values_are_looked_through(copy, key):
    (copy / "meta/stats.json").unlink()
    assert LeRobotRecordings(copy, IMAGE, key).action_space == LeRobotRecordings(FOLDER, IMAGE, key).action_space


def test_statistics_of_other_data_are_found_out(copy):
    stats = json.loads((copy / "meta/stats.json").read_text())
    stats["action"]["max"][0] = 0.9
    change_json(copy / "meta/stats.json", **stats)
    recordings = LeRobotRecordings(copy, IMAGE)
    recordings.read(0)
    with pytest.raises(RecordingError, match=r"episode 2 .*action 0 is \[1.0.*older than its data"):
        recordings.read(2)
    change_json(copy / "meta/stats.json", action={"min": [0.0], "max": [1.0]})
    with pytest.raises(RecordingError, match=r"stats.json has min \[0.0\].*expected \[3\]"):
        LeRobotRecordings(copy, IMAGE)


def test_actions_of_an_unknown_kind_are_refused(copy):
    with pytest.raises(RecordingError, match=r"no feature 'steer'; found .*key, switches.*--action-key"):
        LeRobotRecordings(FOLDER, IMAGE, "steer")
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    features["action"]["dtype"] = "string"
    change_json(copy / "meta/info.json", features=features)
    with pytest.raises(RecordingError, match=r"'action' has dtype 'string'.*expected numbers"):
        LeRobotRecordings(copy, IMAGE)


# Rewards and ends.


def test_an_end_before_the_last_action_counts_unless_it_is_by_time(copy):
    end = [row in (3, 10) for row in range(12)]
    change_parquet(copy / DATA_FILE, **{"next.done": lambda _: end})
    recordings = LeRobotRecordings(copy, IMAGE)
    assert [recordings.read(episode).terminated for episode in EPISODES] == [True, True, False]
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    features["next.truncated"] = features["next.done"]
    change_json(copy / "meta/info.json", features=features)
    for path in sorted(copy.glob("data/*/*.parquet")):
        table = parquet.read_table(path)
        parquet.write_table(table.append_column("next.truncated", [[row == 10 for row in range(len(table))]]), path)
    recordings = LeRobotRecordings(copy, IMAGE)
    assert [recordings.read(episode).terminated for episode in EPISODES] == [True, False, False]


def test_without_rewards_all_are_zero(copy):
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    change_json(copy / "meta/info.json", features={k: v for k, v in features.items() if not k.startswith("next.")})
    recordings = LeRobotRecordings(copy, IMAGE)
    assert not recordings.read(2).reward.any()
    assert recordings.reward_dropped(2) == 0


# Faults.


@pytest.mark.parametrize(
    ("version", "fix"),
    [("v2.1", "convert_dataset_v21_to_v30"), ("v2.0", "first to 2.1"), ("v4.0", "newer wmgym"), (3, "")],
)
def test_other_versions_are_refused(copy, version, fix):
    change_json(copy / "meta/info.json", codebase_version=version)
    with pytest.raises(RecordingError, match=rf"codebase_version is {version!r}, expected 'v3.0'.*{fix}"):
        LeRobotRecordings(copy, IMAGE)


def test_a_folder_that_is_none_is_refused(tmp_path, copy):
    with pytest.raises(RecordingError, match=r"no meta/info.json.*above or below"):
        LeRobotRecordings(tmp_path / "nowhere")
    (copy / "meta/info.json").write_text("{")
    with pytest.raises(RecordingError, match=r"info.json: cannot be read"):
        LeRobotRecordings(copy)
    (copy / "meta/info.json").write_text('{"codebase_version": "v3.0", "features": {}, "fps": 0}')
    with pytest.raises(RecordingError, match=r"fps is 0"):
        LeRobotRecordings(copy)


def test_cameras_are_named_where_there_are_several(copy):
    with pytest.raises(RecordingError, match=r"2 cameras \(.*front, .*wrist\), expected one.*--image-key"):
        LeRobotRecordings(FOLDER)
    with pytest.raises(RecordingError, match=r"'top' given, expected one of .*front"):
        LeRobotRecordings(FOLDER, "top")
    with pytest.raises(RecordingError, match=r"'action' given, which has dtype 'float32'.*no pictures: store uint8"):
        LeRobotRecordings(FOLDER, "action")
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    features[VIDEO]["info"]["video.is_depth_map"] = True
    change_json(copy / "meta/info.json", features=features)
    with pytest.raises(RecordingError, match="depth map"):
        LeRobotRecordings(copy, VIDEO)
    del features[VIDEO]
    change_json(copy / "meta/info.json", features=features)
    assert LeRobotRecordings(copy).numbers == list(EPISODES)


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", None], ids=["cut", "empty", "gone"]
)
@pytest.mark.parametrize(("key", "file"), [(VIDEO, VIDEO_FILE), (VIDEO, DATA_FILE), (IMAGE, DATA_FILE)])
def test_a_damaged_file_leaves_the_episodes_of_the_others(copy, key, file, damage):
    if damage is None:
        (copy / file).unlink()
    else:
        (copy / file).write_bytes(damage((copy / file).read_bytes()))
    recordings = LeRobotRecordings(copy, key, frame_size=16)
    for episode in (0, 1):
        with pytest.raises(RecordingError, match=rf"episode {episode} cannot be used: .*{Path(file).name}.*Fix: fetch"):
            recordings.read(episode)
    np.testing.assert_array_equal(recordings.read(2).image, LeRobotRecordings(FOLDER, key, frame_size=16).read(2).image)


def test_damaged_bits_of_a_video_are_mostly_found(copy):
    """A frame that does not decode is an error, and no guess at what it might have shown."""
    path = copy / VIDEO_FILE
    sound = path.read_bytes()
    start = sound.index(b"mdat") + 4
    times = np.arange(12) / FPS
    expected = list(decode_at(path, times, FPS))
    wrong = 0
    places = range(start, len(sound), 29)
    for place in places:
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 255]) + sound[place + 1 :])
        try:
            wrong += not np.array_equal(list(decode_at(path, times, FPS)), expected)
        except RecordingError:
            continue
    assert wrong < len(places) / 5


def test_damaged_lists_of_episodes_are_counted(copy):
    shutil.copytree(copy / "meta/episodes/chunk-000", copy / "meta/episodes/chunk-001")
    (copy / "meta/episodes/chunk-001/file-000.parquet").write_bytes(b"PAR1")
    recordings = LeRobotRecordings(copy, IMAGE)
    assert recordings.numbers == list(EPISODES)
    assert [path.parent.name for path in recordings.unreadable] == ["chunk-001"]
    (copy / EPISODES_FILE).write_bytes(b"PAR1")
    with pytest.raises(RecordingError, match=r"no episode is listed.*cannot be read"):
        LeRobotRecordings(copy, IMAGE)


def test_lists_that_disagree_are_named(copy):
    change_json(copy / "meta/info.json", total_episodes=9)
    assert list(LeRobotRecordings(copy, IMAGE).unreadable.values()) == [
        "lists 3 episodes, meta/info.json says 9. Fix: fetch meta again."
    ]
    change_parquet(copy / EPISODES_FILE, length=lambda lengths: [lengths[0] + 1, *lengths[1:]])
    with pytest.raises(RecordingError, match=r"5 rows of it, or not in order; meta/episodes says 6"):
        LeRobotRecordings(copy, IMAGE).read(0)


def test_times_beyond_a_video_are_named(copy):
    start = f"videos/{VIDEO}/from_timestamp"
    change_parquet(copy / EPISODES_FILE, **{start: lambda times: [times[0], times[1] + 0.3, times[2]]})
    recordings = LeRobotRecordings(copy, VIDEO, frame_size=16)
    with pytest.raises(RecordingError, match=r"file-000.mp4: no frame at 1.200 s, expected one within 0.050 s"):
        recordings.read(1)
    recordings.read(0)


def test_images_that_are_no_bytes_or_no_colours_are_named(copy):
    import io

    from PIL import Image

    kept = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(kept, "PNG")
    change_parquet(copy / DATA_FILE, **{IMAGE: lambda rows: [{"bytes": kept.getvalue(), "path": "x"}] * len(rows)})
    with pytest.raises(RecordingError, match=r"episode 0 .*expected 8 bits a colour"):
        LeRobotRecordings(copy, IMAGE).read(0)
    change_parquet(copy / DATA_FILE, **{IMAGE: lambda rows: [{"bytes": None, "path": "x.png"}] * len(rows)})
    with pytest.raises(RecordingError, match=r"episode 0 .*images embedded"):
        LeRobotRecordings(copy, IMAGE).read(0)
    change_parquet(copy / DATA_FILE, **{IMAGE: lambda rows: [{"bytes": b"PNG", "path": "x.png"}] * len(rows)})
    with pytest.raises(RecordingError, match=r"episode 0 .*an image is damaged"):
        LeRobotRecordings(copy, IMAGE).read(0)
