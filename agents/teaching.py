"""What a teacher would do at each step of a recording, whoever acted in it: the labels of behaviour cloning.

So pupils also learn how to come back from where no teacher would have gone (the idea of DAgger, S. Ross, G. Gordon,
J. Bagnell, arXiv:1011.0686, with recordings in place of the pupil's own walks).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agents.explorer import Explorer
from agents.walkers import TargetSeeker

TeacherName = Literal["explorer", "target_seeker"]
Teacher = Explorer | TargetSeeker
TEACHERS: dict[TeacherName, type[Teacher]] = {"explorer": Explorer, "target_seeker": TargetSeeker}
"""One that uses what it has seen, and one that knows where the target is."""
NEEDED = ("agent_pos", "agent_dir", "maze_layout", "target_pos")
"""What a recording must have kept of `info`."""


@dataclass(frozen=True)
class Answers:
    """What a teacher knew at each frame of an episode, or of several of one length.

    Attributes:
        actions: `[... t]`: its action.
        targets: `[... t 2]` float32: cells ahead and cells to the left at which the target lies, seen from the camera.
        known: `[... t]`: whether the teacher knows where the target is.
    """

    actions: NDArray[np.int64]
    targets: NDArray[np.float32]
    known: NDArray[np.bool_]


def teach(teacher: Teacher, state: Mapping[str, NDArray[Any]]) -> Answers:
    """Return what a teacher, who watches from the beginning, intends and knows at each frame of an episode.

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
    actions, known = [], []
    for t in range(len(state[NEEDED[0]])):
        actions.append(teacher.intend({key: state[key][t] for key in NEEDED}))
        known.append(teacher.knows_target)
    offset = np.asarray(state["target_pos"], np.float64) - state["agent_pos"]
    along = np.asarray(state["agent_dir"], np.float64)
    ahead = (offset * along).sum(-1)
    left = offset[:, 1] * along[:, 0] - offset[:, 0] * along[:, 1]
    return Answers(np.array(actions, np.int64), np.stack([ahead, left], -1).astype(np.float32), np.array(known, bool))


def ask_all(
    teacher: TeacherName,
    files: Sequence[Path],
    read: Callable[[Path], Mapping[str, NDArray[Any]]],
    workers: int,
    show: Callable[..., Iterable[Answers]],
    what: str = "episodes",
) -> list[Answers]:
    """Return what a teacher knew in each of some recorded episodes.

    Args:
        teacher: Who.
        files: The episodes.
        read: Gives `NEEDED` of an episode; is sent to other processes.
        workers: How many of them.
        show: Progress bar, `tqdm.tqdm` or anything that takes what is counted, `total=`, `desc=` and `unit=`.
        what: To call the episodes there.

    Raises:
        ValueError: As `teach`; it names the file.
    """
    with ProcessPoolExecutor(workers) as pool:
        asked = pool.map(partial(_ask, teacher, read), files, chunksize=4)
        return list(show(asked, total=len(files), desc=f"{teacher}, {what}", unit="episode"))


def _ask(teacher: TeacherName, read: Callable[[Path], Mapping[str, NDArray[Any]]], file: Path) -> Answers:
    try:
        return teach(TEACHERS[teacher](np.random.default_rng(0)), read(file))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
