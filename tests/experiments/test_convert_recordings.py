"""The conversion script: there and back the same, resumable, nothing overwritten, faults named and counted."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tyro
from gymnasium.spaces import Box

from experiments.convert_recordings import Args, FromLerobot, FromMinari, ToMinari
from experiments.convert_recordings import main as main_of
from wmgym.errors import RecordingError
from wmgym.recording import Episode, read_episode, write_episode

minari = pytest.importorskip("minari")
pytest.importorskip("av")

ROOT = Path(__file__).parents[2]
LEROBOT = ROOT / "tests/wmgym/lerobot"
CAMERA = "observation.images.front"


def main(way):
    return main_of(Args(way))


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    """Minari's folder is a fresh one."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def make_episode(seed, action_space=None):
    rng = np.random.default_rng(seed)
    action = rng.integers(0, 4, 6) if action_space is None else rng.uniform(-1, 1, (6, 2)).astype(np.float32)
    action[0] = 0
    reward = np.concatenate([[0], rng.normal(size=5)]).astype(np.float32)
    return Episode(
        image=rng.integers(0, 256, (6, 32, 32, 3), np.uint8),
        action=action,
        reward=reward,
        action_count=4 if action_space is None else 0,
        state={"agent_pos": rng.normal(size=(6, 2)).astype(np.float32)},
        seed=seed,
        policy="walker",
        terminated=seed % 2 == 1,
        action_space=action_space,
    )


@pytest.fixture(params=[None, Box(-1, 1, (2,))], ids=["discrete", "box"])
def recordings(request, tmp_path):
    """Three recordings, and a file that is none."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for seed in range(3):
        write_episode(folder / f"seed-{seed:08d}.npz", make_episode(seed, request.param))
    (folder / "seed-00000003.npz").write_bytes(b"nothing")
    (folder / "collection.json").write_text(json.dumps({"env": "wmgym/TextureWorld-v0"}))
    return folder


def test_there_and_back(recordings, tmp_path):
    summary = main(ToMinari(recordings, "maze/test-v0"))
    assert (summary["episodes"], summary["frames"], list(summary["left_out"])) == (3, 18, ["seed-00000003.npz"])
    assert summary["folder"] == str(tmp_path / "minari/maze/test-v0")
    assert minari.load_dataset("maze/test-v0").env_spec.id == "wmgym/TextureWorld-v0"
    back = tmp_path / "back"
    summary = main(FromMinari("maze/test-v0", back))
    assert (summary["episodes"], summary["frames"], summary["left_out"]) == (3, 18, {})
    assert json.loads((back / "conversion.json").read_text()) == summary
    for seed in range(3):
        expected = read_episode(recordings / f"seed-{seed:08d}.npz")
        given = read_episode(back / f"episode-{seed:08d}.npz")
        assert given.policy == "minari:maze/test-v0 walker"
        for field in dataclasses.fields(Episode):
            if field.name not in ("policy", "state"):
                np.testing.assert_array_equal(getattr(given, field.name), getattr(expected, field.name))
        np.testing.assert_array_equal(given.state["agent_pos"], expected.state["agent_pos"])


def test_nothing_is_converted_twice_and_what_is_missing_is(recordings, tmp_path):
    main(ToMinari(recordings, "test-v0"))
    with pytest.raises(RecordingError, match="already"):
        main(ToMinari(recordings, "test-v0"))
    back = tmp_path / "back"
    main(FromMinari("test-v0", back, episodes=2))
    first, second = sorted(back.glob("*.npz"))
    untouched = first.stat().st_mtime_ns
    second.write_bytes(b"cut short")
    assert main(FromMinari("test-v0", back))["episodes"] == 3
    assert first.stat().st_mtime_ns == untouched
    assert [read_episode(path).seed for path in sorted(back.glob("*.npz"))] == [0, 1, 2]


def test_a_folder_holds_recordings_of_one_origin(recordings, tmp_path):
    main(ToMinari(recordings, "test-v0"))
    back = tmp_path / "back"
    main(FromMinari("test-v0", back))
    for other in (FromMinari("test-v0", back, frame_size=16), FromLerobot(LEROBOT, back, CAMERA, frame_size=32)):
        with pytest.raises(RecordingError, match="another --output"):
            main(other)
    with pytest.raises(RecordingError, match="not converted"):
        main(FromMinari("test-v0", recordings))


def test_recordings_of_another_space_are_left_out(recordings):
    odd = dataclasses.replace(make_episode(5), action_count=7)
    write_episode(recordings / "zzz.npz", odd)
    summary = main(ToMinari(recordings, "test-v0"))
    assert summary["episodes"] == 3
    assert "one space" in summary["left_out"]["zzz.npz"]


def test_a_folder_without_recordings_leaves_no_data_set(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="nothing to convert"):
        main(ToMinari(tmp_path / "empty", "test-v0"))
    assert list((tmp_path / "minari").iterdir()) == []


def test_a_world_that_is_not_registered_is_not_noted(recordings, capsys):
    (recordings / "collection.json").write_text(json.dumps({"env": "Gone-v7"}))
    main(ToMinari(recordings, "test-v0"))
    assert minari.load_dataset("test-v0").env_spec is None
    assert "not registered here" in capsys.readouterr().err
    with pytest.raises(ValueError, match="'Gone-v7' given as the recorded world"):
        main(ToMinari(recordings, "other-v0", env="Gone-v7"))


def test_lerobot_comes_in_with_its_faults_counted(tmp_path):
    data, output = tmp_path / "robots", tmp_path / "ours"
    shutil.copytree(LEROBOT, data)
    video = data / f"videos/{CAMERA}/chunk-000/file-001.mp4"
    sound = video.read_bytes()
    video.write_bytes(sound[:500])
    args = FromLerobot(data, output, CAMERA, frame_size=32)
    summary = main(args)
    assert (summary["episodes"], summary["frames"], list(summary["left_out"])) == (2, 12, ["2"])
    assert "file-001.mp4" in summary["left_out"]["2"]
    assert summary["dropped_reward"] == 4 / 8 + (1 + 6 / 8)
    video.write_bytes(sound)
    summary = main(args)
    assert (summary["episodes"], summary["left_out"]) == (3, {})
    episode = read_episode(output / "episode-00000002.npz")
    assert (episode.image.shape, episode.policy) == ((4, 32, 32, 3), "lerobot:robots")
    np.testing.assert_allclose(episode.action[1:, 0], [1, 1.1, 1.2])
    np.testing.assert_array_equal(episode.reward, [0, 2, 2.125, 2.25])


def test_bad_sizes_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="--frame-size 0 given"):
        main(FromLerobot(tmp_path / "nowhere", tmp_path / "ours", frame_size=0))


def test_help_tells_the_three_ways(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(Args, args=["--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in ("to-minari", "from-minari", "from-lerobot"))


def test_the_command_line_fails_if_something_was_left_out(tmp_path):
    damaged = tmp_path / "robots"
    shutil.copytree(LEROBOT, damaged)
    (damaged / "data/chunk-000/file-001.parquet").unlink()
    arguments = ["from-lerobot", "--folder", damaged, "--output", tmp_path / "ours", "--image-key", CAMERA]
    script = ROOT / "experiments/convert_recordings.py"
    run = subprocess.run(
        [sys.executable, script, *arguments, "--frame-size", "16"], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 1
    assert "1 episodes or files could not be used" in run.stderr
    assert json.loads(run.stdout)["episodes"] == 2
