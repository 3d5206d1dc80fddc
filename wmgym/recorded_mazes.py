"""Mazes of recorded episodes: where walls and targets are, who walked, and which may be scored against which."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wmgym.errors import RecordingError
from wmgym.recording import SEED_RANGES, read_state

MAP_KEYS = ("maze_layout", "targets_pos", "agent_pos", "agent_dir")


@dataclass(frozen=True)
class Maze:
    """The maze of one recorded episode, and the walk through it."""

    path: Path
    """The episode's file."""

    free: NDArray[np.bool_]
    """`[N N]` indexed `[int(y), int(x)]`: where there is no wall."""

    targets: NDArray[np.float32]
    """`[n 2]` positions (x, y) in cells; target i has the same colour in every maze."""

    poses: NDArray[np.float32]
    """`[t 4]` position of the agent in cells, and the unit vector along which it looks."""

    seed: int | None
    """Seed of the maze, if the file says so."""

    walker: str | None
    """Who walked, if the file says so."""


def read_maze(path: Path) -> Maze:
    """Read the maze of an episode, without its images.

    Raises:
        RecordingError: The file cannot be read, has no map, or its maze changes on the way.
    """
    state, seed, walker = read_state(path, MAP_KEYS)
    if missing := [key for key in MAP_KEYS if key not in state]:
        raise RecordingError(
            f"{path}: no {', no '.join(missing)} recorded, expected {', '.join(MAP_KEYS)}. Most likely the world is no "
            "Memory Maze, or was recorded without global_observables=True. Record mazes with "
            "experiments/collect_episodes.py."
        )
    free, targets = state["maze_layout"] != 0, state["targets_pos"]
    if (free != free[0]).any() or (targets != targets[0]).any():
        raise RecordingError(
            f"{path}: maze_layout or targets_pos changes within the episode, expected one maze an episode. Most likely "
            "several episodes were joined in one file; write one file an episode."
        )
    poses = np.concatenate([state["agent_pos"], state["agent_dir"]], axis=1)
    return Maze(path, free[0], targets[0], poses, seed, walker)


def refuse_unfit(training: Sequence[Maze], held_out: Sequence[Maze], start: int) -> None:
    """Refuse mazes that make a score mean something else than how well unknown mazes are remembered.

    Args:
        training: Mazes to train probes on.
        held_out: Mazes to score them on.
        start: The first step that is scored.

    Raises:
        RecordingError: There are too few, they differ in size or length, are too short, or are not held out.
    """
    if len(training) < 2 or not held_out:
        raise RecordingError(
            f"{len(training)} training and {len(held_out)} held-out episodes given, expected 2 or more and 1 or more. "
            "Record some: experiments/collect_episodes.py --split train, and --split test."
        )
    _refuse_known(training, held_out)
    sizes = {(maze.free.shape, len(maze.targets)) for maze in [*training, *held_out]}
    if len(sizes) > 1:
        given = " and ".join(f"{rows}x{columns} with {n} targets" for (rows, columns), n in sorted(sizes))
        raise RecordingError(f"mazes of {given} given, expected one size. Probe each size by itself.")
    for name, mazes, least in (("training", training, 1), ("held-out", held_out, start + 1)):
        lengths = sorted({len(maze.poses) for maze in mazes})
        if len(lengths) > 1 or lengths[0] < least:
            raise RecordingError(
                f"{name} episodes of {', '.join(map(str, lengths))} frames given, expected one length of at least "
                f"{least}, since scores count from step {start} on. Most likely some were ended early: move them away, "
                "or score from an earlier step."
            )


def _refuse_known(training: Sequence[Maze], held_out: Sequence[Maze]) -> None:
    """Refuse a mix-up of what is trained on and what is scored."""
    for name, mazes, wrong, right in (("held-out", held_out, "train", "test"), ("training", training, "test", "train")):
        found = [maze for maze in mazes if maze.seed is not None and maze.seed in SEED_RANGES[wrong]]
        if found:
            raise RecordingError(
                f"{len(found)} of the {len(mazes)} {name} episodes have seeds of the {wrong} split, such as "
                f"{found[0].path}, expected none. Most likely the two folders were mixed up. Fix: record with "
                f"experiments/collect_episodes.py --split {right}."
            )
    known = {(maze.free.tobytes(), maze.targets.tobytes()): maze.path for maze in training}
    for maze in held_out:
        if twin := known.get((maze.free.tobytes(), maze.targets.tobytes())):
            raise RecordingError(
                f"{maze.path} shows the same maze as {twin}, which is trained on, expected another. Most likely the "
                "file was copied; take it out of one of the folders."
            )
