"""Run a policy in any environment for whole episodes; say what it scored and how sure that is.

The one path by which returns are measured, in dreams and in real environments alike.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from agents.interfaces import Policy

RESAMPLES = 10_000


@dataclass(frozen=True)
class Evaluation:
    """What a policy scored, episode by episode.

    Attributes:
        first_seed: Episode `k` is that of seed `first_seed + k`: of the same maze for every policy.
        returns: Sum of rewards of each episode, the last reward included.
        lengths: Steps of each episode.
        rewards: By episode, the steps (the first is 1) at which a reward other than zero came, each with it; None
            where they were not kept.
    """

    first_seed: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    rewards: tuple[tuple[tuple[int, float], ...], ...] | None = None

    def returns_until(self, step: int) -> tuple[float, ...]:
        """Return what each episode had brought after so many steps, or when it ended, if that was before.

        Raises:
            ValueError: Rewards were not kept.
        """
        if self.rewards is None:
            raise ValueError("this evaluation has no rewards, expected those that `evaluate` keeps. Evaluate again.")
        return tuple(float(sum(reward for at, reward in episode if at <= step)) for episode in self.rewards)

    def summary(self) -> dict[str, Any]:
        """Return mean return, its 95 % bootstrap interval, number of episodes and mean steps of one."""
        return summarise(self.returns, self.lengths)


class RandomPolicy:
    """Choose every action uniformly at random: the score that any other policy must beat.

    Args:
        action_space: Of one environment.
        seed: Fixes all actions.
    """

    def __init__(self, action_space: gymnasium.Space[Any], seed: int) -> None:
        self._space = copy.deepcopy(action_space)
        self._space.seed(seed)

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[Any]:
        """Return any actions."""
        return np.stack([self._space.sample() for _ in is_first])


def evaluate(
    policy: Policy,
    env: VectorEnv[Any, Any, Any] | gymnasium.Env[Any, Any] | Sequence[gymnasium.Env[Any, Any]],
    *,
    episodes: int,
    seed: int,
    on_step: Callable[[int], object] | None = None,
) -> Evaluation:
    """Run whole episodes of a policy.

    Episodes are started in rounds, one in each environment, each from its own seed, so every episode counts,
    long or short, and different policies meet the same mazes.

    Args:
        policy: Who acts.
        env: A vector environment in any autoreset mode, one environment, or several different ones. It stays open.
        episodes: How many, at least 1; best a multiple of the number of environments.
        seed: Episode `k` starts from `reset` with seed `seed + k` (a vector environment gives environment `i`
            of a round the seed of the round plus `i`).
        on_step: Called after each step with the number of steps made that count, to show progress.

    Raises:
        ValueError: `episodes` is less than 1, there is no environment or one of them twice, or a reward is not finite.
    """
    if not isinstance(env, VectorEnv):
        env = _as_vector_env(env)
    if episodes < 1:
        raise ValueError(f"episodes = {episodes}, expected at least 1.")
    returns: list[float] = []
    lengths: list[int] = []
    rewards: list[tuple[tuple[int, float], ...]] = []
    while len(returns) < episodes:
        wanted = min(env.num_envs, episodes - len(returns))
        totals, steps, paid = _run_round(policy, env, wanted, seed + len(returns), on_step)
        returns.extend(totals[:wanted].tolist())
        lengths.extend(steps[:wanted].tolist())
        rewards.extend(map(tuple, paid[:wanted]))
    return Evaluation(seed, tuple(returns), tuple(lengths), tuple(rewards))


def estimate_seconds(env: VectorEnv[Any, Any, Any], *, episodes: int, steps: int, probe: int = 10) -> float:
    """Return about how long `evaluate` takes, from some random steps; starts the episodes anew.

    Args:
        env: Where to evaluate.
        episodes: How many.
        steps: Of each.
        probe: How many steps to time.
    """
    env.reset(seed=0)
    env.step(env.action_space.sample())  # the first may be slow
    started = time.monotonic()
    for _ in range(probe):
        env.step(env.action_space.sample())
    rounds = -(-episodes // env.num_envs)
    return (time.monotonic() - started) / probe * steps * rounds


def summarise(values: Sequence[float], lengths: Sequence[int]) -> dict[str, Any]:
    """Return `{"mean", "ci95": [low, high], "episodes", "steps"}` of one value an episode.

    Args:
        values: One an episode.
        lengths: Steps of each episode; `steps` is their mean, rounded.
    """
    low, high = bootstrap_interval(values)
    return {
        "mean": float(np.mean(values)),
        "ci95": [low, high],
        "episodes": len(values),
        "steps": round(float(np.mean(lengths))),
    }


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by the percentile bootstrap over episodes.

    With fewer than about twenty episodes it is somewhat narrow; with one it has no width and says nothing.

    Args:
        values: One an episode, at least one.
        seed: Fixes the 10,000 resamples, so the same values give the same interval.

    Source: B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7, 1979.
    """
    given = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = given[rng.integers(len(given), size=(RESAMPLES, len(given)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def compare(candidate: Evaluation, baseline: Evaluation) -> dict[str, Any]:
    """Return by how much a candidate's return exceeds a baseline's, as `summarise` does, episode by episode.

    Both met the same mazes, so the interval is that of the mean of paired differences. "differ" says in how many
    episodes there is any: with rare rewards these are few, and the interval says too much.

    Raises:
        ValueError: The two did not run the same episodes.
    """
    ours, theirs = (
        (candidate.first_seed, len(candidate.returns)),
        (baseline.first_seed, len(baseline.returns)),
    )
    if ours != theirs:
        raise ValueError(
            f"the candidate ran {ours[1]} episodes from seed {ours[0]}, the baseline {theirs[1]} from seed "
            f"{theirs[0]}; expected the same episodes. Fix: evaluate both with the same seed and episodes."
        )
    differences = np.subtract(candidate.returns, baseline.returns)
    return summarise(differences.tolist(), candidate.lengths) | {"differ": int(np.count_nonzero(differences))}


def _run_round(
    policy: Policy,
    env: VectorEnv[Any, Any, Any],
    wanted: int,
    seed: int,
    on_step: Callable[[int], object] | None,
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[list[tuple[int, float]]]]:
    """Run one episode in each environment until the first `wanted` are over; return returns, lengths and rewards."""
    totals, steps = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
    paid: list[list[tuple[int, float]]] = [[] for _ in range(env.num_envs)]
    running = np.arange(env.num_envs) < wanted
    is_first = np.ones(env.num_envs, dtype=np.bool_)
    observations, _ = env.reset(seed=seed)
    while running.any():
        observations, rewards, terminated, truncated, _ = env.step(policy.act(observations, is_first))
        if not np.isfinite(np.asarray(rewards)[running]).all():
            raise ValueError(
                f"the environment gave the rewards {rewards}, expected finite numbers. Likely cause: NaN in "
                "observations or weights."
            )
        totals[running] += np.asarray(rewards, dtype=np.float64)[running]
        steps[running] += 1
        for i in map(int, np.flatnonzero(running & (np.asarray(rewards) != 0))):
            paid[i].append((int(steps[i]), float(rewards[i])))
        if on_step is not None:
            on_step(int(running.sum()))
        is_first = np.asarray(terminated) | np.asarray(truncated)
        running &= ~is_first
        if is_first.any() and running.any() and env.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
            observations, _ = env.reset(options={"reset_mask": is_first})
    return totals, steps, paid


def _as_vector_env(given: gymnasium.Env[Any, Any] | Sequence[gymnasium.Env[Any, Any]]) -> VectorEnv[Any, Any, Any]:
    """Return single environments as a vector environment that steps them one after the other.

    Raises:
        ValueError: There is none, or the same one several times.
    """
    envs = [given] if isinstance(given, gymnasium.Env) else given
    if len(envs) == 0:
        raise ValueError("no environment given, expected at least one.")
    different = len({id(env) for env in envs})
    if different < len(envs):
        raise ValueError(
            f"{len(envs)} environments given, but only {different} different ones; expected each once, because each "
            "runs an episode of its own at the same time. Likely cause: [env] * n. Fix: [make() for _ in range(n)]."
        )

    def give(env: gymnasium.Env[Any, Any]) -> Callable[[], gymnasium.Env[Any, Any]]:
        return lambda: env

    return SyncVectorEnv([give(env) for env in envs], autoreset_mode=AutoresetMode.SAME_STEP)
