"""The micro checkpoint, opened, and the toy world of `tests/wmgym/toy_world.py`.

wmgym and model are imported inside the fixtures, never here: the jaxtyping hook must come first.
"""

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
