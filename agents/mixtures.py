"""Who walks when a world is recorded: a documented mixture for each, drawn from the seed of the episode."""

import numpy as np

from agents.explorer import Explorer
from agents.there_and_back import ThereAndBack
from agents.walkers import RandomGoalWalker, StickyWalker, TargetSeeker, UniformWalker, Walker

MAZE = {"random_goal": 0.40, "target_seeker": 0.30, "sticky": 0.15, "uniform": 0.15}
EXPLORER = {"explorer": 1.0}
"""Walks of one who goes by what it has seen, for those who learn to act from recordings."""
TEXTURE = {"there_and_back": 0.5, "sticky": 0.5}
TEXTURE_UNDONE_BY = (0, 4, 3, 2, 1)  # nothing, forward, left, right, back
LONGEST_WAY = 32


def mixture_of(env: str, walkers: str = "mixture") -> dict[str, float]:
    """Return the share of the episodes that each kind of walker gets.

    Args:
        env: Id of the environment.
        walkers: "mixture", which world models are trained on, or "explorer", in mazes only.

    Raises:
        ValueError: There is no explorer in that world.
    """
    if walkers == "mixture":
        return TEXTURE if "TextureWorld" in env else MAZE
    if "MemoryMaze" not in env:
        raise ValueError(f"walkers = {walkers!r} in {env}, expected 'mixture': explorers look for targets in mazes.")
    return EXPLORER


def make_walker(env: str, seed: int, walkers: str = "mixture") -> tuple[Walker, str]:
    """Draw who walks in the episode of a seed; return it with its name, as in "target_seeker noise=0.12".

    Args:
        env: Id of the environment.
        seed: Of the episode; what is drawn is not the stream of the world itself.
        walkers: See `mixture_of`.

    Raises:
        ValueError: See `mixture_of`.
    """
    rng = np.random.default_rng([seed, 20_000])
    mixture = mixture_of(env, walkers)
    kind = str(rng.choice(list(mixture), p=list(mixture.values()))) if len(mixture) > 1 else next(iter(mixture))
    return (_texture_walker if mixture is TEXTURE else _maze_walker)(kind, rng)


def _maze_walker(kind: str, rng: np.random.Generator) -> tuple[Walker, str]:
    if kind == "random_goal":
        noise = round(rng.uniform(0.05, 0.3), 2)
        return RandomGoalWalker(rng, noise), f"{kind} noise={noise}"
    if kind == "target_seeker":
        noise = round(rng.uniform(0.0, 0.5), 2)
        return TargetSeeker(rng, noise), f"{kind} noise={noise}"
    if kind == "explorer":
        noise, held = round(rng.uniform(0.0, 0.3), 2), bool(rng.integers(2))
        return Explorer(rng, noise, held=held), f"{kind} noise={noise} held={held}"
    if kind == "sticky":
        repeat = round(rng.uniform(0.5, 0.95), 2)
        return StickyWalker(rng, repeat), f"{kind} repeat={repeat}"
    return UniformWalker(rng), kind


def _texture_walker(kind: str, rng: np.random.Generator) -> tuple[Walker, str]:
    repeat = round(rng.uniform(0.2, 0.8), 2)
    if kind == "sticky":
        return StickyWalker(rng, repeat, len(TEXTURE_UNDONE_BY)), f"{kind} repeat={repeat}"
    longest = int(rng.integers(4, LONGEST_WAY + 1))
    walker = ThereAndBack(rng, TEXTURE_UNDONE_BY, longest, repeat)
    return walker, f"{kind} longest={longest} repeat={repeat}"
