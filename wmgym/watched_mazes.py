"""Real mazes that show what a dream shows: the worlds in which what was learned in dreams is judged.

A checkpoint that says it was recorded from another world (`world.json`) is judged there.
"""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import torch
from gymnasium.vector import AsyncVectorEnv, VectorEnv

from wmgym.moments import Moment, MomentsOfReality
from wmgym.real_worlds import recorded_world
from wmgym.recorded_world import MAZES, RecordedWorld
from wmgym.registration import register_all
from wmgym.wrappers import WorldModelObservation

REAL_MAZE = "wmgym/MemoryMaze-9x9-v0"
REAL_STEPS = 1000
"""Of an episode, where the maze's own time limit is."""


def watched_maze(
    steps: int = REAL_STEPS,
    *,
    checkpoint: str | None = None,
    observation: str = "features",
    precision: str = "float32",
    forget_every: int | None = None,
    moments: Sequence[Moment] = (),
    global_observables: bool = False,
) -> gymnasium.Env[Any, Any]:
    """Make a real maze, or what else the checkpoint was recorded from, that shows what a dream shows.

    Its frames come from `render`.

    In a process of its own it uses one processor, and leaves Ctrl-C to the others.

    Args:
        steps: Of an episode, at most `REAL_STEPS`, or the limit of the other world.
        checkpoint: Of the world model that watches; None for the one that ships with wmgym.
        observation: "pixels", of which nothing is made, "latent" or "features".
        precision: "float32" or "bfloat16", as that of the dreams.
        forget_every: Frames after which what the world model remembers is emptied; None for never.
        moments: Where episodes start, `steps` long from there; none for where the maze itself starts.
        global_observables: Tell in `info` where agent, targets and walls are: for those who watch, not for agents.

    Raises:
        ValueError: The checkpoint is of another world, and something is asked for that only the maze has.
    """
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    register_all()
    before = max((len(moment.actions) for moment in moments), default=0)
    env: gymnasium.Env[Any, Any]
    other = other_world(checkpoint)
    if other is None:
        env = gymnasium.make(
            REAL_MAZE, render_mode="rgb_array", max_episode_steps=before + steps, global_observables=global_observables
        )
    elif moments or global_observables:
        raise ValueError(
            f"moments or global_observables given with a checkpoint of {other.env}, expected one of {REAL_MAZE}: only "
            "there recorded walks can be taken again, and is it told where things are."
        )
    else:
        env = other.make(steps)
    if observation != "pixels":
        env = WorldModelObservation(env, checkpoint, observation, precision=precision, forget_every=forget_every)
    return MomentsOfReality(env, moments, steps) if moments else env


def other_world(checkpoint: str | None) -> RecordedWorld | None:
    """Return which world a checkpoint was recorded from, if it says so and it is not the 9x9 maze."""
    recorded = recorded_world(checkpoint)
    return None if recorded is None or recorded.env == REAL_MAZE else recorded


def refuse_other_world(checkpoint: str | None, asked: str, advice: str, mazes: str = MAZES) -> None:
    """Refuse what only mazes have, for a checkpoint that says that it was recorded elsewhere.

    Args:
        checkpoint: Folder, Hugging Face Hub id, or None for the one that ships with wmgym.
        asked: What was asked for, as the message begins.
        advice: Why only mazes have it, and the fix, as the message ends.
        mazes: How the ids of worlds that have it begin.

    Raises:
        CheckpointError: The checkpoint is missing, or what it says cannot be understood.
        ValueError: It was recorded elsewhere.
    """
    recorded = recorded_world(checkpoint)
    if recorded is not None and not recorded.env.startswith(mazes):
        raise ValueError(
            f"{asked} given with a checkpoint of {recorded.env}, expected one of a world whose id begins with {mazes}: "
            f"{advice}"
        )


def longest_episode(checkpoint: str | None) -> int:
    """Return after how many steps the real world of a checkpoint ends an episode at the latest."""
    other = other_world(checkpoint)
    return REAL_STEPS if other is None else other.max_episode_steps or REAL_STEPS


def watched_mazes(workers: int, steps: int = REAL_STEPS, **watching: Any) -> VectorEnv[Any, Any, Any]:
    """Make such mazes, one a process.

    Args:
        workers: How many.
        steps: See `watched_maze`.
        **watching: Likewise.
    """
    if workers > 1:  # each process draws on its own core
        os.environ.setdefault("LP_NUM_THREADS", "0")
    return AsyncVectorEnv([partial(watched_maze, steps, **watching)] * workers, context="spawn")
