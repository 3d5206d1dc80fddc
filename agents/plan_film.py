"""A film of an agent that plans: what its plan imagined beside what then happened."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from agents.interfaces import BranchingVectorEnv, Policy
from agents.pictures import side_by_side


def film_plans(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    dream: BranchingVectorEnv,
    root: Callable[[], Sequence[Any]],
    *,
    steps: int,
    every: int,
    seed: int,
    path: Path,
) -> float:
    """Let a planning policy act, and save each frame beside the one imagined for it when the plan was made.

    The states that it planned from carry their generators, so these are the frames that its plan saw, to rounding, as
    long as it takes the plan's actions.

    Args:
        env: Where it acts; shows pixels.
        policy: Who acts; has just one environment.
        dream: One place in which states of `root` go on; shows pixels, and is never cut off by time.
        root: The states of the last plan, one here; what the planner plans from.
        steps: How many to film, or until the episode ends.
        every: Steps from one plan to the next.
        seed: Of the episode.
        path: Of the gif.

    Returns:
        The mean difference of real and imagined intensities, of 255.
    """
    frame, _ = env.reset(seed=seed)
    pictures, differences = [], []
    for step in range(steps):
        actions = policy.act(frame[None], np.array([step == 0]))
        if step % every == 0:
            dream.restore_state(root()[0])
        imagined, promised, *_ = dream.step(actions)
        frame, reward, terminated, truncated, _ = env.step(actions[0])
        ahead = f"imagined {step % every + 1} of {every}"
        pictures.append(side_by_side(frame, imagined[0], _told(ahead, promised[0]), _told(f"real {step + 1}", reward)))
        differences.append(np.abs(frame.astype(np.float64) - imagined[0]).mean())
        if terminated or truncated:
            break
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=200, loop=0)
    return float(np.mean(differences))


def _told(what: str, reward: Any) -> str:
    return f"{what}, reward {float(reward):g}" if reward else what
