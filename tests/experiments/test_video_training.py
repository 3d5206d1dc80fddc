"""From videos with actions to dreams of them, in the sizes of the published Minecraft set but for their number."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import wmgym
from experiments import evaluate_world_model, export_video, train_tokenizer, train_world_model
from model.config import PRESETS
from wmgym.errors import RecordingError
from wmgym.picture_metrics import ssim
from wmgym.recording import read_episode, record_episode, scan, write_episode

FRAMES = 151
SIZE = 128


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Walks over textures by three of their actions, as a set of videos."""
    wmgym.register_all()
    folder = tmp_path_factory.mktemp("videos")
    env = gymnasium.make("wmgym/TextureWorld-v0", size=SIZE)
    for split, seed, count in (("train", 5_000_000, 3), ("test", 6_000_000, 1)):
        (folder / split).mkdir()
        for i in range(count):
            rng = np.random.default_rng(i)
            act = lambda *_, rng=rng: int(rng.integers(3))  # noqa: E731
            walk = record_episode(env, act, seed=seed + i, policy_name="random", max_steps=FRAMES)
            write_episode(folder / split / f"{i}.npz", replace(walk, action_count=3))
        told = export_video.main(
            export_video.Args(folder / split, folder / "set" / split, quality=1, max_frames=FRAMES)
        )
        assert told["videos"] == count
        assert told["psnr"] > 25
        assert told["share_of_bytes"] < 0.25
    return folder / "set"


@pytest.fixture(scope="module")
def checkpoint(videos, tmp_path_factory):
    """A tokenizer and a world model trained for a moment; the model has one sampler, for speed."""
    output = tmp_path_factory.mktemp("runs")
    micro = PRESETS["micro"]
    one_sampler = replace(micro, dynamics=replace(micro.dynamics, max_denoising_steps=1))
    train_tokenizer.main(
        train_tokenizer.Args(
            videos / "train", videos / "test", output / "tokenizer", preset="micro", frame_size=SIZE, minutes=0.01,
            batch=2, episodes=1,
        )
    )  # fmt: skip
    settings = {"preset": "micro", "frame_size": SIZE, "minutes": 10.0, "steps": 2, "stages": ((1.0, 8),)}
    settings |= {"frames_per_step": 16, "dreamed_share": 0.0, "contexts": 2, "clips": 1, "clip_frames": 4}
    settings |= {"dream_steps": (1,), "shortcut_fraction": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "micro", one_sampler)
        train_world_model.main(
            train_world_model.Args(
                videos / "train", videos / "test", output / "tokenizer", output / "world", **settings
            )
        )
    return output / "world" / "checkpoint"


def test_dreams_have_the_size_and_the_actions_of_the_videos(checkpoint):
    env = gymnasium.make("LSSVWM-MemoryMaze-v0", checkpoint=str(checkpoint), max_episode_steps=3)
    frame, _ = env.reset(seed=0)
    assert frame.shape == (SIZE, SIZE, 3)
    assert env.action_space.n == 3
    assert env.step(2)[0].shape == (SIZE, SIZE, 3)


def test_the_paper_s_task_on_minecraft(checkpoint, videos, tmp_path):
    """100 frames shown, 50 dreamed under the recorded actions."""
    settings = {"episodes": 1, "clips_per_episode": 1, "context": 100, "horizon": 50, "elsewhere": ""}
    args = evaluate_world_model.Args(videos / "test", tmp_path, checkpoint, **settings, long_dream=8, long_dreams=1)
    metrics = evaluate_world_model.main(args)["metrics"]
    assert (metrics["clips"], metrics["horizon"], metrics["episodes"]) == (1, 50, 1)
    real = read_episode(scan(videos / "test").usable[0]).image[:150]
    scores = metrics["dream"]["1"]
    assert scores["copy_ssim"] == pytest.approx(ssim(real[100:], np.broadcast_to(real[99], (50, SIZE, SIZE, 3))).mean())
    assert -1 <= scores["ssim"] < 1
    assert 0 < scores["mean_psnr_mean"] < 60
    assert "| SSIM |" in (tmp_path / "result.md").read_text()


def test_videos_are_scaled_down_to_the_frames_of_the_model(videos):
    frames = train_tokenizer.load_frames(videos / "train", 1, 0, 64, for_training=True)
    assert frames.shape == (FRAMES, 64, 64, 3)
    with pytest.raises(RecordingError, match="holds no usable episode"):
        train_tokenizer.load_frames(videos / "train", 1, 0, 256, for_training=True)


def test_damaged_videos_are_named_and_the_rest_is_trained_on(videos, tmp_path, capsys):
    folder = tmp_path / "set" / "train" / "worker-0"
    folder.mkdir(parents=True)
    for path in [*(videos / "train").glob("*/*"), videos / "dataset.json"]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "000000.mp4").write_bytes((folder / "000000.mp4").read_bytes()[:-50])
    data = bytearray((folder / "000001.mp4").read_bytes())
    data[50_000:60_000] = bytes(10_000)
    (folder / "000001.mp4").write_bytes(data)
    frames = train_tokenizer.load_frames(folder.parent, 10, 0, SIZE, for_training=True)
    np.testing.assert_array_equal(frames, read_episode(folder / "000002.mp4").image)
    told = capsys.readouterr().err
    assert "skipped 000000.mp4" in told
    assert "skipped" in told
    assert "000001.mp4: " in told
    assert len(scan(folder.parent).usable) == 2


def test_other_rules_than_those_of_the_set_are_refused(videos):
    args = export_video.Args(videos.parent / "train", videos / "train", first_action=2)
    with pytest.raises(ValueError, match=r"dataset.json states other rules"):
        export_video.main(args)
