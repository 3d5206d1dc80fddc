"""Take sequences of actions in branches of an environment, and say what they return.

    states, actions -> restore_state -> step x horizon -> rewards up to the first end, value of what comes after

As many branches are taken at once as the environment has places, never more: what they need is known beforehand
(`num_envs` times what one state takes, three times that while they are put back, besides the states to start from).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from agents.branch_states import put, take
from agents.interfaces import BranchingVectorEnv
from agents.trajectory_optimizers import Floats

Critic = Callable[[Any], NDArray[Any]]
"""`critic(observations) -> values`: of all places of the vector environment, `[num_envs]`; in units of the return."""
Root = Callable[[], Sequence[Any]]
"""`root() -> states`: where each acting environment stands now, each a state of one environment for `restore_state`."""


@dataclass(frozen=True)
class Rolled:
    """What `m` sequences of actions led to.

    Attributes:
        returns: `[m]`: discounted rewards, that of the step in which a branch ended included, none after it.
        weights: `[m]`: what a reward right after would count: the discount to the power of the steps made; 0 where a
            branch terminated.
        ended: `[m]`: whether it terminated or was truncated.
        observations: Of all places, the `m` branches first: the last ones before the branch ended.
    """

    returns: Floats
    weights: Floats
    ended: NDArray[np.bool_]
    observations: Any


def roll(env: BranchingVectorEnv, states: Sequence[Any], actions: NDArray[Any], discount: float) -> Rolled:
    """Take one sequence of actions from each of some states; their places are then where the sequences led.

    Places that are left over repeat the first branch. A clone carries its random generator: branches of one state meet
    the same chance and differ by their actions only.

    Args:
        env: Where; whatever is in its places is overwritten.
        states: `m` states of one environment each, at most `num_envs`.
        actions: `[m steps ...]`, elements of `single_action_space`.
        discount: A step.
    """
    m, spare = len(states), env.num_envs - len(states)
    mode = AutoresetMode(env.metadata["autoreset_mode"])
    filled = [*states, *[states[0]] * spare]
    actions = np.concatenate([actions, np.repeat(actions[:1], spare, axis=0)])
    put(env, filled, range(env.num_envs))
    returns, weights = np.zeros(env.num_envs), np.ones(env.num_envs)
    ended = np.zeros(env.num_envs, np.bool_)
    cut_off: dict[int, Any] = {}
    observations: Any = None
    for step in range(actions.shape[1]):
        observations, rewards, terminated, truncated, info = env.step(actions[:, step])
        running = ~ended
        returns[running] += weights[running] * np.asarray(rewards, np.float64)[running]
        weights[running] *= discount
        terminated, truncated = np.asarray(terminated, np.bool_), np.asarray(truncated, np.bool_)
        weights[running & terminated] = 0.0
        ends = running & (terminated | truncated)
        for place in np.flatnonzero(ends & ~terminated):
            cut_off[int(place)] = _last_observation(env, mode, observations, info, int(place))
        ended |= ends
        if ended.all():
            break
        if mode is AutoresetMode.DISABLED:  # cannot be stepped any more: any state that can will do
            over = np.flatnonzero(terminated | truncated).tolist()
            put(env, [filled[place] for place in over], over)
    return Rolled(returns[:m], weights[:m], ended[:m], _with_rows(env, observations, cut_off))


def score_branches(
    env: BranchingVectorEnv,
    states: Sequence[Any],
    actions: NDArray[Any],
    discount: float,
    critic: Critic | None = None,
) -> Floats:
    """Return what each candidate returns from the state of its problem, `[b s]`.

    That is the discounted sum of rewards up to the first end, and, unless the branch terminated, the discounted value
    of its last observation.

    Args:
        env: Where the branches are taken, `num_envs` at a time; whatever is in its places is overwritten.
        states: `b` states of one environment each.
        actions: `[b s steps ...]`.
        discount: A step.
        critic: Value of what comes after the last step; None for nothing.

    Raises:
        ValueError: The critic does not give one value an environment.
    """
    b, s = actions.shape[:2]
    branches = actions.reshape(b * s, *actions.shape[2:])
    returns = np.zeros(b * s)
    for start in range(0, b * s, env.num_envs):
        part = slice(start, min(start + env.num_envs, b * s))
        rolled = roll(env, [states[i // s] for i in range(part.start, part.stop)], branches[part], discount)
        returns[part] = rolled.returns + later_values(env, rolled, critic)
    return returns.reshape(b, s)


def later_values(env: BranchingVectorEnv, rolled: Rolled, critic: Critic | None) -> Floats:
    """Return the discounted value of what comes after each branch, `[m]`; 0 where it terminated, whatever the critic.

    Raises:
        ValueError: The critic does not give one value an environment.
    """
    if critic is None:
        return np.zeros(len(rolled.returns))
    values = np.asarray(critic(rolled.observations), np.float64)
    if values.shape != (env.num_envs,):
        raise ValueError(
            f"the critic returned the shape {values.shape}, expected ({env.num_envs},): one value an environment. "
            "Likely cause: a last axis of 1. Fix: values[:, 0]."
        )
    return np.where(rolled.weights > 0, rolled.weights * values[: len(rolled.weights)], 0.0)


def check_branching(env: Any) -> None:
    """Refuse environments in which nothing can be planned.

    Any autoreset mode will do, because nothing counts after the first end of a branch; but it must be said.

    Raises:
        ValueError: The environment cannot be cloned and restored, or does not say its autoreset mode.
    """
    if not isinstance(env, BranchingVectorEnv):
        raise ValueError(
            f"an environment of type {type(env).__name__} given, expected a BranchingVectorEnv: a gymnasium VectorEnv "
            "with clone_state and restore_state. Fix: plan in gymnasium.make_vec('wmgym:LSSVWM-MemoryMaze-v0', "
            "num_envs=64), or give the simulator these two methods."
        )
    mode = env.metadata.get("autoreset_mode")
    if mode not in list(AutoresetMode):
        raise ValueError(
            f"the environment has metadata['autoreset_mode'] = {mode!r}, expected a gymnasium.vector.AutoresetMode: "
            "what it does with ended episodes decides how branches that end are stepped on. Fix: "
            "env.metadata = {**env.metadata, 'autoreset_mode': AutoresetMode.DISABLED}, if it leaves them ended."
        )


@contextmanager
def roots(env: BranchingVectorEnv, root: Root | None, problems: int) -> Iterator[list[Any]]:
    """Give the states to plan from, and put the environment back afterwards if they are its own.

    Args:
        env: Where branches are taken.
        root: Returns the states; None for those that the environment itself is in.
        problems: How many states there must be.

    Raises:
        ValueError: There are not as many.
    """
    own = env.clone_state() if root is None else None
    try:
        states = take(env, range(env.num_envs)) if root is None else list(root())
        if len(states) != problems:
            raise ValueError(
                f"{len(states)} states to plan from, expected {problems}: one for each environment acted in. Likely "
                "cause: acting in one environment and planning in another without saying where the first stands. "
                "Fix: root=lambda: [acting.clone_state([i]) for i in range(acting.num_envs)]."
            )
        yield states
    finally:
        if own is not None:
            env.restore_state(own)


def _last_observation(
    env: BranchingVectorEnv, mode: AutoresetMode, observations: Any, info: dict[str, Any], place: int
) -> Any:
    """Return the last observation of an episode that ended in this step, wherever the environment shows it."""
    if mode is AutoresetMode.SAME_STEP:
        return info["final_obs"][place]
    return list(iterate(env.observation_space, observations))[place]


def _with_rows(env: BranchingVectorEnv, observations: Any, rows: dict[int, Any]) -> Any:
    """Return the observations of all places with some of them replaced."""
    if not rows:
        return observations
    items = [rows.get(i, item) for i, item in enumerate(iterate(env.observation_space, observations))]
    space = env.single_observation_space
    empty: Any = create_empty_array(space, env.num_envs)
    return concatenate(space, items, empty)
