"""Walkers for any action space: they know nothing of the world, and see nothing of it."""

import copy
import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from agents.sticky import Sticky

RANDOM = {"uniform": 0.5, "sticky": 0.5}
RANDOM_BOX = {"uniform": 0.25, "sticky": 0.375, "smooth": 0.375}
"""Shares of the episodes in a world of which nothing is known; a `Box` has smooth noise too."""

Act = Callable[[Any, Mapping[str, Any]], Any]
"""Maps (observation, info) to an action."""


class UniformActions:
    """Choose every action uniformly at random; `agents.walkers.UniformWalker` says why there are two.

    Args:
        space: Of the actions; bounded.
        rng: Consumed once, to seed a copy of the space.
    """

    def __init__(self, space: gymnasium.Space[Any], rng: np.random.Generator) -> None:
        self._space = copy.deepcopy(space)
        self._space.seed(int(rng.integers(2**31)))

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """Return any action."""
        return self._space.sample()


class StickyActions(Sticky[Any]):
    """Repeat the last action with a fixed probability, else choose as `UniformActions` does.

    Args:
        space: Of the actions; bounded.
        rng: The generator consumed, one draw a step, and one to seed a copy of the space.
        repeat: Probability of repeating, in [0, 1].
    """

    def __init__(self, space: gymnasium.Space[Any], rng: np.random.Generator, repeat: float) -> None:
        super().__init__(UniformActions(space, rng).act, rng, repeat)


class SmoothActions:
    """Noise that changes slowly, in each dimension of a `Box` on its own: an autoregressive process, clipped.

    In units of half the range it has mean 0 and deviation `scale`; from one step to the next it keeps the share `keep`.

    Args:
        space: A bounded `Box`.
        rng: The generator consumed, one draw a step and dimension.
        keep: In [0, 1).
        scale: More than 0; with 1 a third of the actions lie at the bounds.
    """

    def __init__(self, space: Box, rng: np.random.Generator, keep: float, scale: float = 0.7) -> None:
        if not 0 <= keep < 1 or not scale > 0:
            raise ValueError(f"keep = {keep}, scale = {scale}; expected 0 <= keep < 1 and scale > 0.")
        self._space, self._rng, self._keep, self._scale = space, rng, keep, scale
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._noise: NDArray[np.float64] | None = None

    def reset(self) -> None:
        """Forget the last action."""
        self._noise = None

    def act(self, observation: Any, info: Mapping[str, Any]) -> NDArray[Any]:
        """Return an action near the last one."""
        drawn = self._rng.normal(scale=self._scale, size=self._low.shape)
        if self._noise is None:
            self._noise = drawn
        else:
            self._noise = self._keep * self._noise + np.sqrt(1 - self._keep**2) * drawn
        share = (np.clip(self._noise, -1, 1) + 1) / 2
        action = (self._low * (1 - share) + self._high * share).astype(self._space.dtype)
        return np.clip(action, self._space.low, self._space.high)


def random_mixture(space: gymnasium.Space[Any]) -> dict[str, float]:
    """Return the share of the episodes that each kind of walker gets in a world with these actions."""
    return RANDOM_BOX if isinstance(space, Box) else RANDOM


def make_random_walker(
    space: gymnasium.Space[Any], seed: int
) -> tuple[UniformActions | StickyActions | SmoothActions, str]:
    """Draw who walks in the episode of a seed; return it with its name, as in "sticky repeat=0.71".

    Args:
        space: Of the actions.
        seed: Of the episode; what is drawn is not the stream of the world itself.
    """
    rng = np.random.default_rng([seed, 20_000])
    mixture = random_mixture(space)
    kind = str(rng.choice(list(mixture), p=list(mixture.values())))
    amount = round(rng.uniform(0.5, 0.95), 2)
    if kind == "sticky":
        return StickyActions(space, rng, amount), f"{kind} repeat={amount}"
    if kind == "smooth" and isinstance(space, Box):
        return SmoothActions(space, rng, amount), f"{kind} keep={amount}"
    return UniformActions(space, rng), kind


def load_policy_factory(name: str) -> Callable[[gymnasium.Env[Any, Any], np.random.Generator], Act]:
    """Import a user's policy factory: `function(env, rng)` returns what maps (observation, info) to an action.

    Args:
        name: `module:function`; the module is looked for in the current folder too.

    Raises:
        ValueError: It is no such name, or cannot be imported, or is no function.
    """
    module, colon, function = name.partition(":")
    hint = "Expected module:function, such as my_policies:make_driver, where function(env, rng) returns the policy."
    if not (module and colon and function):
        raise ValueError(f"--policy {name} given. {hint}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        factory = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever a user's module raises
        raise ValueError(f"--policy {name} cannot be imported ({type(error).__name__}: {error}). {hint}") from error
    if not callable(factory):
        raise ValueError(f"--policy {name} is a {type(factory).__name__}, which cannot be called. {hint}")
    return factory  # type: ignore[no-any-return]


def make_users_policy(name: str, env: gymnasium.Env[Any, Any], seed: int) -> Act:
    """Return a user's policy for the episode of a seed.

    Args:
        name: Of its factory, see `load_policy_factory`.
        env: Where it will act.
        seed: Of the episode.

    Raises:
        ValueError: It cannot be made, or is no function.
    """
    factory = load_policy_factory(name)
    try:
        policy = factory(env, np.random.default_rng([seed, 20_000]))
    except Exception as error:  # whatever a user's function raises
        raise ValueError(
            f"--policy {name} could not make a policy ({type(error).__name__}: {error}); it is called as "
            "function(env, rng), with the environment and a numpy generator of the episode."
        ) from error
    if not callable(policy):
        raise ValueError(
            f"--policy {name} returned a {type(policy).__name__}, expected something to be called with "
            "(observation, info) that returns an action."
        )
    return policy
