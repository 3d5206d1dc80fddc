"""Measure one policy in several worlds, dreams and the real one, by the same code and with progress shown."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from gymnasium.vector import VectorEnv
from tqdm import tqdm

from agents.evaluate import Evaluation, evaluate
from agents.interfaces import Policy


@dataclass(frozen=True)
class World:
    """Where policies are measured.

    Attributes:
        open: Gives the environments for one policy: `lambda: closing(make())` makes them anew and closes them,
            `lambda: nullcontext(env)` shares those that are there.
        episodes: How many; a world with none is left out.
    """

    open: Callable[[], AbstractContextManager[VectorEnv[Any, Any, Any]]]
    episodes: int


def measure(
    name: str, make_policy: Callable[[], Policy], worlds: Mapping[str, World], *, steps: int, seed: int
) -> dict[str, Evaluation]:
    """Evaluate a policy, made anew for each world, and return what it scored by world.

    Args:
        name: Of the policy, for progress bars.
        make_policy: Makes it, so that nothing is carried from one world into the other.
        worlds: By name, such as "imagined" and "real".
        steps: Of an episode, for progress bars.
        seed: Of the first episode in each.
    """
    found = {}
    for where, world in worlds.items():
        if not world.episodes:
            continue
        with world.open() as env, tqdm(total=world.episodes * steps, unit="step", desc=f"{name}, {where}") as bar:
            found[where] = evaluate(make_policy(), env, episodes=world.episodes, seed=seed, on_step=bar.update)
    return found
