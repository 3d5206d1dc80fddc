"""The micro checkpoint, opened, the toy world of `tests/wmgym/toy_world.py`, and data sets of other formats.

wmgym and model are imported inside the fixtures, never here: the jaxtyping hook must come first.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def micro(micro_folder):
    """The micro checkpoint, opened."""
    from wmgym.checkpoint import open_checkpoint

    return open_checkpoint(micro_folder)


@pytest.fixture(scope="session")
def toy():
    """A checkpoint whose world counts frames and repeats actions, exactly."""
    from tests.wmgym.toy_world import toy_checkpoint

    return toy_checkpoint()


@pytest.fixture
def teco_folder(tmp_path):
    """Where a split of a set of videos with actions is to lie."""
    return tmp_path / "minecraft" / "train"


@pytest.fixture
def teco_video(teco_folder):
    """A sound video, in the only folder there, with the actions beside it."""
    from tests.wmgym.teco_videos import NUMBERS, tell_tale, write

    return write(teco_folder / "w0" / "000000.mp4", tell_tale(NUMBERS), NUMBERS.astype(np.int32))


@pytest.fixture(scope="session")
def texture_walk():
    """A real walk over textures, by three of its actions."""
    import gymnasium

    import wmgym
    from wmgym.recording import Episode, record_episode

    wmgym.register_all()
    rng = np.random.default_rng(0)
    env = gymnasium.make("wmgym/TextureWorld-v0", size=64)
    made = record_episode(env, lambda *_: int(rng.integers(3)), seed=1, policy_name="random", max_steps=40)
    return Episode(made.image, made.action, made.reward, action_count=3)


@pytest.fixture
def lerobot_copy(tmp_path):
    """The data set that lerobot wrote (`lerobot_fixture.py`), where it may be damaged."""
    return Path(shutil.copytree(Path(__file__).parent / "lerobot", tmp_path / "copy"))
