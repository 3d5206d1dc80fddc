"""What the scripts are tried on: a few random frames."""

import json
import shutil

import gymnasium
import numpy as np
import pytest
import torch

FRAMES = 70


def short_evaluation(recordings, output, checkpoint, **changes):
    """The arguments of an evaluation of few short clips and of no world but the recorded one."""
    from experiments.evaluate_world_model import Args  # not before the jaxtyping hook

    short = {"clips_per_episode": 1, "horizon": 4, "long_dream": 8, "long_dreams": 2, "elsewhere": ""}
    return Args(recordings, output, checkpoint, **short | changes)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Three episodes of noise, and a file that is none."""
    from wmgym.recording import Episode, write_episode  # not before the jaxtyping hook

    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for i in range(3):
        image = rng.integers(0, 256, (FRAMES, 64, 64, 3), np.uint8)
        reward = (rng.random(FRAMES) < 0.1).astype(np.float32)
        action = rng.integers(0, 6, FRAMES)
        write_episode(
            folder / f"{i}.npz", Episode(image, action, reward, action_count=6, seed=5_000_000 + i, policy="noise")
        )
    (folder / "broken.npz").write_bytes(b"not a zip file")
    return folder


@pytest.fixture(scope="session")
def toy_folder(micro_folder, tmp_path_factory):
    """A checkpoint of random weights that was recorded from the toy world with six actions."""
    from tests.wmgym.image_worlds import ACTIONS, TOY
    from wmgym.recorded_world import WORLD_FILE, RecordedWorld  # not before the jaxtyping hook

    folder = tmp_path_factory.mktemp("checkpoints") / "toy"
    shutil.copytree(micro_folder, folder)
    (folder / WORLD_FILE).write_text(json.dumps(RecordedWorld(TOY, ACTIONS["six"], 9, {"actions": "six"}).to_json()))
    return folder


@pytest.fixture(scope="session")
def record_walks(tmp_path_factory):
    """A function that records short random walks over textures in frames of 64x64; returns their folder."""
    import wmgym  # noqa: F401  (registers the ids; not before the jaxtyping hook)
    from wmgym.recording import record_episode, write_episode

    def record(count, first_seed, steps):
        folder = tmp_path_factory.mktemp("walks")
        env = gymnasium.make("wmgym/TextureWorld-v0", size=64)
        for i in range(count):
            rng = np.random.default_rng(i)
            walk = record_episode(
                env,
                lambda *_, rng=rng: int(rng.integers(5)),
                seed=first_seed + i,
                policy_name="random",
                max_steps=steps,
            )
            write_episode(folder / f"{i}.npz", walk)
        return folder

    return record


@pytest.fixture(scope="session")
def walks(record_walks):
    """Three short walks over textures."""
    return record_walks(3, first_seed=5_000_000, steps=69)


@pytest.fixture(scope="session")
def walk_tokenizer(walks, tmp_path_factory):
    """A tokenizer trained on the walks for a moment."""
    from experiments import train_tokenizer

    output = tmp_path_factory.mktemp("runs") / "tokenizer"
    train_tokenizer.main(
        train_tokenizer.Args(walks, output=output, validation=walks, preset="micro", minutes=0.02, batch=4)
    )
    return output


@pytest.fixture
def noise():
    """A function that writes one short episode into a new folder and returns the folder."""
    from wmgym.recording import Episode, write_episode

    def write(folder, frames=2, size=64, **settings):
        folder.mkdir()
        image = np.random.default_rng(0).integers(0, 256, (frames, size, size, 3), np.uint8)
        action, reward = np.zeros(frames, np.int64), np.zeros(frames, np.float32)
        write_episode(folder / "0.npz", Episode(image, action, reward, **{"action_count": 6} | settings))
        return folder

    return write


@pytest.fixture(scope="session")
def relative(micro_folder, tmp_path_factory):
    """A checkpoint with the tokenizer of `micro_folder` and dynamics of its own."""
    from model.world_model import WorldModel

    folder = shutil.copytree(micro_folder, tmp_path_factory.mktemp("checkpoints") / "relative")
    world = WorldModel.from_pretrained(folder)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        for weight in world.dynamics.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    world.save_pretrained(folder)
    return str(folder)
