"""What dreams start from unless told otherwise, as a checkpoint keeps it: real first frames and recorded clips.

First frames are where real episodes start. Clips are a few frames from within recorded episodes, shortly before a
reward if there is any: an agent that learns from there meets rewards long before it could find them by itself, as
agents that imagine from replayed experience do (arXiv:1912.01603).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.axes import START_ACTION
from wmgym.context import Context
from wmgym.recording import Episode

STEPS_BEFORE_REWARD = 12
"""A clip of an episode with rewards ends at most so many steps before one."""


@dataclass(frozen=True)
class Clips:
    """Recorded frames and actions, one clip a row.

    Attributes:
        frames: `[n t H W c]` uint8, 0 to 255.
        actions: `[n t]` integers or `[n t a]` floats: the action that led to each frame; column 0 means nothing.
    """

    frames: NDArray[Any]
    actions: NDArray[Any]

    def contexts(self) -> list[Context]:
        """Return the clips as what dreams go on from."""
        continuous = self.actions.dtype.kind == "f"
        actions = self.actions.astype(np.float32 if continuous else np.int64)
        actions[:, 0] = np.nan if continuous else START_ACTION
        return [Context(frames, led) for frames, led in zip(self.frames, actions, strict=True)]


def draw_clip(episode: Episode, length: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Cut frames and actions of one clip from an episode, at random, shortly before a reward if there is any.

    Args:
        episode: Recording of at least `length` frames, one more if it terminated: no clip shows a world that is over.
        length: Frames of a clip.
        rng: Consumed; at most two draws.
    """
    rewarded = np.flatnonzero(episode.reward[length:]) + length  # frames that come after a whole clip
    if len(rewarded):
        reward = int(rng.choice(rewarded))
        last = int(rng.integers(max(length - 1, reward - STEPS_BEFORE_REWARD), reward))
    else:
        last = int(rng.integers(length - 1, len(episode.image) - episode.terminated))
    span = slice(last + 1 - length, last + 1)
    return episode.image[span], episode.action[span]
