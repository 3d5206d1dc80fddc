"""What is kept of recordings is what the real environment's wrapper shows, frame by frame."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from tests.wmgym.maze_walks import write_walks
from wmgym.context import Context, first_frame
from wmgym.dream import Dreams
from wmgym.errors import ContextError, RecordingError
from wmgym.recording import Episode, read_episode, scan, write_episode
from wmgym.watched_recordings import place_watched, read_watched, watch_recordings

MIRROR = (0, 1, 3, 2, 5, 4)
FRAMES = 23  # more than are observed at once


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    return scan(write_walks(tmp_path_factory.mktemp("walks") / "train", range(3), frames=FRAMES)).usable


@pytest.mark.parametrize("mirror", [None, MIRROR])
@pytest.mark.parametrize("observation", ["latent", "features"])
def test_it_is_what_the_wrapper_of_real_environments_shows(micro, walks, tmp_path, observation, mirror):
    """Of a mirrored world, what it would show there."""
    shown = []
    watched = read_watched(watch_recordings(micro.world, walks, tmp_path, observation, mirror, shown.append))
    assert shown == [FRAMES] * 3
    dreams = Dreams(micro.world, [], num_dreams=1)
    for path, seen in zip(walks, watched, strict=True):
        episode = read_episode(path)
        if mirror:
            episode = replace(episode, image=episode.image[:, :, ::-1].copy(), action=np.array(mirror)[episode.action])
        dreams.start([0], [first_frame(episode.image[0])])
        for t in range(FRAMES):
            if t:
                dreams.observe([Context(episode.image[t : t + 1], episode.action[t : t + 1])])
            expected = dreams.observations(observation)[0]
            np.testing.assert_allclose(seen[t].astype(np.float32), expected, rtol=2e-3, atol=2e-3)


def test_what_is_there_is_not_made_again(micro, walks, tmp_path):
    first = watch_recordings(micro.world, walks[:2], tmp_path, "latent")
    stamps = [path.stat().st_mtime_ns for path in first]
    shown = []
    files = watch_recordings(micro.world, walks, tmp_path, "latent", progress=shown.append)
    assert shown == [FRAMES]
    assert files[:2] == first
    mirrored = watch_recordings(micro.world, walks[:1], tmp_path, "latent", MIRROR)
    assert not set(mirrored) & set(files)
    assert [path.stat().st_mtime_ns for path in first] == stamps
    assert not list(tmp_path.glob("*.partial"))


def test_episodes_of_one_name_in_two_folders_are_two(micro, walks, tmp_path):
    """And the same episode in two is one."""
    others = scan(write_walks(tmp_path / "others", range(5, 8), frames=FRAMES)).usable
    for path, seed in zip(others, range(3), strict=True):
        path.rename(path.with_name(f"{seed}.npz"))
    others = scan(tmp_path / "others").usable
    assert [path.name for path in others] == [path.name for path in walks]
    files = watch_recordings(micro.world, [*walks, *others, *walks], tmp_path / "kept", "latent")
    assert len(set(files)) == 6
    assert files[:3] == files[6:]


def test_what_does_not_fit_is_told(micro, walks, tmp_path):
    short = write_walks(tmp_path / "train", range(1), frames=FRAMES - 5)
    files = watch_recordings(micro.world, [walks[1], *scan(short).usable], tmp_path / "kept", "latent")
    with pytest.raises(RecordingError, match=r"episodes of \[18, 23\] frames given, expected.*one length"):
        read_watched(files)
    with pytest.raises(RecordingError, match=r"episodes of no frames given"):
        read_watched([])
    other = tmp_path / "other.npz"
    noise = np.zeros((5, 32, 32, 3), np.uint8)
    write_episode(other, Episode(noise, np.zeros(5, np.int64), np.zeros(5, np.float32), action_count=6, seed=1))
    for observation in ("latent", "features"):
        with pytest.raises(ContextError, match="32x32 given, expected 6 actions and 64x64"):
            watch_recordings(micro.world, [other], tmp_path / "kept", observation)


@pytest.mark.parametrize("left", [0, 20, 1000])
@pytest.mark.parametrize("which", [0, 1])
def test_what_was_kept_and_is_not_whole_is_named_and_made_again(micro, walks, tmp_path, left, which):
    files = watch_recordings(micro.world, walks[:2], tmp_path, "latent")
    whole = files[which].read_bytes()
    files[which].write_bytes(whole[:left])
    with pytest.raises(RecordingError, match=rf"{files[which].name}: cannot be read .* Fix: delete it"):
        read_watched(watch_recordings(micro.world, walks[:2], tmp_path, "latent"))
    files[which].unlink()
    watch_recordings(micro.world, walks[:2], tmp_path, "latent")
    assert files[which].read_bytes() == whole


def test_latents_are_shared_by_models_of_one_tokenizer_and_features_are_not(micro_folder, tmp_path):
    twin = shutil.copytree(micro_folder, tmp_path / "twin")
    weights = load_file(twin / "model.safetensors")
    name = next(key for key, value in weights.items() if key.startswith("dynamics.") and value.numel() > 1)
    weights[name].view(-1)[0] += 1
    save_file(weights, twin / "model.safetensors")
    places = {
        kind: [place_watched(tmp_path, kind, each) for each in (micro_folder, twin)] for kind in ("latent", "features")
    }
    assert places["latent"][0] == places["latent"][1]
    assert len({*places["latent"], *places["features"]}) == 3
    assert {place.parent for place in places["features"]} == {tmp_path / "watched"}
