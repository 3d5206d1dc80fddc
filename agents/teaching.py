"""What a teacher would do at each step of a recording, whoever acted in it: the labels of behaviour cloning.

So pupils also learn how to come back from where no teacher would have gone (the idea of DAgger, S. Ross, G. Gordon,
J. Bagnell, arXiv:1011.0686, with recordings in place of the pupil's own walks).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.walkers import GoalWalker

NEEDED = ("agent_pos", "agent_dir", "maze_layout", "target_pos")
"""What a recording must have kept of `info`."""


def teach(teacher: GoalWalker, state: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Return the action that a teacher, who watches from the beginning, intends at each frame of an episode.

    Args:
        teacher: Forgets its last episode first.
        state: Of the episode, `NEEDED` with a leading axis of frames.

    Raises:
        ValueError: Something is missing, or not finite.
    """
    if missing := [key for key in NEEDED if key not in state]:
        raise ValueError(
            f"no {', no '.join(missing)} recorded, expected {', '.join(NEEDED)}: a teacher steers by them. Fix: record "
            "a maze with experiments/collect_episodes.py."
        )
    if broken := [key for key in NEEDED if not np.isfinite(state[key]).all()]:
        raise ValueError(
            f"{', '.join(broken)} not finite everywhere, expected numbers: a teacher steers by them. Most likely the "
            "recording is damaged. Fix: move it away."
        )
    teacher.reset()
    frames = range(len(state[NEEDED[0]]))
    return np.array([teacher.intend({key: state[key][t] for key in NEEDED}) for t in frames], np.int64)
