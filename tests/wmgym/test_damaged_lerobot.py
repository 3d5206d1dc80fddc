"""LeRobot data sets that are damaged, of another version or of no use here are named, and the rest is read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.wmgym.lerobot_sets import (
    DATA_FILE,
    EPISODES,
    EPISODES_FILE,
    FOLDER,
    IMAGE,
    VIDEO,
    VIDEO_FILE,
    change_json,
    change_parquet,
)
from wmgym.errors import RecordingError
from wmgym.lerobot_recordings import LeRobotRecordings

pytest.importorskip("pyarrow.parquet")
pytest.importorskip("av")


@pytest.mark.parametrize(
    ("version", "fix"),
    [("v2.1", "convert_dataset_v21_to_v30"), ("v2.0", "first to 2.1"), ("v4.0", "newer wmgym"), (3, "")],
)
def test_other_versions_are_refused(lerobot_copy, version, fix):
    change_json(lerobot_copy / "meta/info.json", codebase_version=version)
    with pytest.raises(RecordingError, match=rf"codebase_version is {version!r}, expected 'v3.0'.*{fix}"):
        LeRobotRecordings(lerobot_copy, IMAGE)


def test_a_folder_that_is_none_is_refused(tmp_path, lerobot_copy):
    with pytest.raises(RecordingError, match=r"no meta/info.json.*above or below"):
        LeRobotRecordings(tmp_path / "nowhere")
    (lerobot_copy / "meta/info.json").write_text("{")
    with pytest.raises(RecordingError, match=r"info.json: cannot be read"):
        LeRobotRecordings(lerobot_copy)
    (lerobot_copy / "meta/info.json").write_text('{"codebase_version": "v3.0", "features": {}, "fps": 0}')
    with pytest.raises(RecordingError, match=r"fps is 0"):
        LeRobotRecordings(lerobot_copy)


def test_cameras_are_named_where_there_are_several(lerobot_copy):
    with pytest.raises(RecordingError, match=r"2 cameras \(.*front, .*wrist\), expected one.*--image-key"):
        LeRobotRecordings(FOLDER)
    with pytest.raises(RecordingError, match=r"'top' given, expected one of .*front"):
        LeRobotRecordings(FOLDER, "top")
    with pytest.raises(RecordingError, match=r"'action' given, which has dtype 'float32'.*no pictures: store uint8"):
        LeRobotRecordings(FOLDER, "action")
    features = json.loads((lerobot_copy / "meta/info.json").read_text())["features"]
    features[VIDEO]["info"]["video.is_depth_map"] = True
    change_json(lerobot_copy / "meta/info.json", features=features)
    with pytest.raises(RecordingError, match="depth map"):
        LeRobotRecordings(lerobot_copy, VIDEO)
    del features[VIDEO]
    change_json(lerobot_copy / "meta/info.json", features=features)
    assert LeRobotRecordings(lerobot_copy).numbers == list(EPISODES)


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", None], ids=["cut", "empty", "gone"]
)
@pytest.mark.parametrize(("key", "file"), [(VIDEO, VIDEO_FILE), (VIDEO, DATA_FILE), (IMAGE, DATA_FILE)])
def test_a_damaged_file_leaves_the_episodes_of_the_others(lerobot_copy, key, file, damage):
    if damage is None:
        (lerobot_copy / file).unlink()
    else:
        (lerobot_copy / file).write_bytes(damage((lerobot_copy / file).read_bytes()))
    recordings = LeRobotRecordings(lerobot_copy, key, frame_size=16)
    for episode in (0, 1):
        with pytest.raises(RecordingError, match=rf"episode {episode} cannot be used: .*{Path(file).name}.*Fix: fetch"):
            recordings.read(episode)
    np.testing.assert_array_equal(recordings.read(2).image, LeRobotRecordings(FOLDER, key, frame_size=16).read(2).image)


def test_damaged_lists_of_episodes_are_counted(lerobot_copy):
    shutil.copytree(lerobot_copy / "meta/episodes/chunk-000", lerobot_copy / "meta/episodes/chunk-001")
    (lerobot_copy / "meta/episodes/chunk-001/file-000.parquet").write_bytes(b"PAR1")
    recordings = LeRobotRecordings(lerobot_copy, IMAGE)
    assert recordings.numbers == list(EPISODES)
    assert [path.parent.name for path in recordings.unreadable] == ["chunk-001"]
    (lerobot_copy / EPISODES_FILE).write_bytes(b"PAR1")
    with pytest.raises(RecordingError, match=r"no episode is listed.*cannot be read"):
        LeRobotRecordings(lerobot_copy, IMAGE)


def test_lists_that_disagree_are_named(lerobot_copy):
    change_json(lerobot_copy / "meta/info.json", total_episodes=9)
    assert list(LeRobotRecordings(lerobot_copy, IMAGE).unreadable.values()) == [
        "lists 3 episodes, meta/info.json says 9. Fix: fetch meta again."
    ]
    change_parquet(lerobot_copy / EPISODES_FILE, length=lambda lengths: [lengths[0] + 1, *lengths[1:]])
    with pytest.raises(RecordingError, match=r"5 rows of it, or not in order; meta/episodes says 6"):
        LeRobotRecordings(lerobot_copy, IMAGE).read(0)


def test_images_that_are_no_bytes_or_no_colours_are_named(lerobot_copy):
    import io

    from PIL import Image

    kept = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(kept, "PNG")
    change_parquet(
        lerobot_copy / DATA_FILE, **{IMAGE: lambda rows: [{"bytes": kept.getvalue(), "path": "x"}] * len(rows)}
    )
    with pytest.raises(RecordingError, match=r"episode 0 .*expected 8 bits a colour"):
        LeRobotRecordings(lerobot_copy, IMAGE).read(0)
    change_parquet(lerobot_copy / DATA_FILE, **{IMAGE: lambda rows: [{"bytes": None, "path": "x.png"}] * len(rows)})
    with pytest.raises(RecordingError, match=r"episode 0 .*images embedded"):
        LeRobotRecordings(lerobot_copy, IMAGE).read(0)
    change_parquet(lerobot_copy / DATA_FILE, **{IMAGE: lambda rows: [{"bytes": b"PNG", "path": "x.png"}] * len(rows)})
    with pytest.raises(RecordingError, match=r"episode 0 .*an image is damaged"):
        LeRobotRecordings(lerobot_copy, IMAGE).read(0)
