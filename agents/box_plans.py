"""Plans of continuous actions in a box: cross-entropy method and MPPI on a Gaussian for each step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.discrete_plans import read_before
from agents.search_settings import CrossEntropy, IteratedSearch, PathIntegral, check_least
from agents.trajectory_optimizers import Floats, Plan, Score, optimise


@dataclass(frozen=True)
class GaussianSettings(IteratedSearch):
    """Draw each action from a Gaussian of its step, by noise that wanders over the steps.

    Attributes:
        keep: How many of the best are tried again, in the next iteration and, shifted, in the next plan.
        smoothing: Share of mean and std before that each iteration keeps.
        carry_over: Share of the last plan's mean in the mean that the next begins with; the rest is the middle of the
            box. The std begins anew.
        start_std: In units of half the width of the box.
        least_std: What the std does not fall below, in the same units.
        color: Exponent of the noise's power spectrum `1 / f^color` over the steps: 0 is white, 2 wanders.
    """

    iterations: int = 5
    keep: int = 4
    smoothing: float = 0.1
    carry_over: float = 1.0
    start_std: float = 0.5
    least_std: float = 0.0
    color: float = 1.0

    def __post_init__(self) -> None:
        """Refuses numbers that do not fit together."""
        super().__post_init__()
        check_least(self, start_std=1e-12, least_std=0.0, color=0.0)


@dataclass(frozen=True)
class GaussianCEM(GaussianSettings, CrossEntropy):
    """Cross-entropy method: mean and std of each action at each step become those of the best candidates.

    Attributes: those of `IteratedSearch`, `CrossEntropy` and `GaussianSettings`, in this order.

    Source: C. Pinneri et al., Sample-efficient cross-entropy method for real-time planning (iCEM), arXiv:2008.06389.
    Declared deviations: as many candidates in each iteration, the mean is a candidate in all but the first, and kept
    candidates repeat their last action at the end.
    """


@dataclass(frozen=True)
class GaussianMPPI(GaussianSettings, PathIntegral):
    """Model-predictive path integral: as `GaussianCEM`, but every candidate counts, `exp` of its return.

    Attributes: those of `IteratedSearch`, `PathIntegral` and `GaussianSettings`, in this order. The least std is
    not 0.

    Source: G. Williams et al., Information theoretic MPC for model-based reinforcement learning, ICRA 2017. Declared
    deviations: a temperature relative to the gap between best and median; the std is refitted, too, as in TD-MPC
    (N. Hansen et al., arXiv:2203.04955); kept candidates weigh as drawn ones, and the plan is the best candidate; the
    mean is one of them.
    """

    least_std: float = 0.02


BoxSearch = GaussianCEM | GaussianMPPI


def plan_box(
    score: Score,
    low: NDArray[Any],
    high: NDArray[Any],
    horizon: int,
    rngs: Sequence[np.random.Generator],
    search: BoxSearch,
    before: Sequence[Plan | None] | None = None,
) -> list[Plan]:
    """Find sequences of continuous actions that score well, one a problem.

    Args:
        score: `[b s horizon ...]` numbers within the bounds, to returns `[b s]`.
        low: Least value of each part of an action; its shape is that of an action.
        high: Greatest value.
        horizon: Of how many actions a plan consists.
        rngs: One a problem; how many there are says how many problems.
        search: Which search, and its settings.
        before: Of each problem the last plan, already `shifted`, or None where there is none to go on from.

    Raises:
        ValueError: A bound is not finite, a plan before has another horizon, or there are not as many as problems.

    Randomness: of problem `i` only `rngs[i]`.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ValueError(
            f"the bounds {low} to {high} are no box, expected finite ones. Fix: bound the actions, as "
            "gymnasium.wrappers.vector.RescaleAction does."
        )
    middle, half = np.broadcast_arrays((low + high) / 2, (high - low) / 2)
    fresh = np.broadcast_to(middle, (horizon, *middle.shape))
    std = np.broadcast_to(half, fresh.shape)
    beliefs, proposals = [], []
    for plan in read_before(before, len(rngs), horizon):
        belief = GaussianBelief(
            fresh, search.start_std * std, search.least_std * std, low, high, search.color, search.smoothing
        )
        given = np.zeros((0, *fresh.shape))
        if plan is not None and isinstance(plan.belief, GaussianBelief):
            mean = search.carry_over * plan.belief.mean + (1 - search.carry_over) * fresh
            belief = replace(belief, mean=mean)
            given = np.concatenate([mean[None], plan.kept[: search.keep]])
        beliefs.append(belief)
        proposals.append(given)
    return optimise(score, beliefs, proposals, rngs, search)


@dataclass(frozen=True)
class GaussianBelief:
    """A mean and a std for each action at each step, cut off at the bounds.

    Attributes:
        mean: `[horizon ...]`.
        std: `[horizon ...]`.
        least_std: `[horizon ...]`: what refitted ones do not fall below.
        low: Least value of each part of an action.
        high: Greatest value.
        color: See `GaussianSettings`.
        smoothing: Share of the old mean and std in refitted ones.
    """

    mean: Floats
    std: Floats
    least_std: Floats
    low: Floats
    high: Floats
    color: float
    smoothing: float

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw `[count horizon ...]` actions."""
        horizon, *shape = self.mean.shape
        noise = np.moveaxis(colored_noise((count, *shape), horizon, self.color, rng), -1, 1)
        return np.clip(self.mean + self.std * noise, self.low, self.high)

    def mode(self) -> Floats:
        """Return the mean, which lies within the bounds."""
        return self.mean

    def refitted(self, candidates: NDArray[Any], weights: Floats) -> "GaussianBelief":
        """Return mean and std of the weighted candidates, smoothed; the same belief where all weights are 0."""
        if not weights.any():
            return self
        shares = weights.reshape(-1, *[1] * self.mean.ndim)
        mean = (shares * candidates).sum(axis=0)
        std = np.sqrt((shares * (candidates - mean) ** 2).sum(axis=0))
        return replace(
            self,
            mean=np.clip(self.smoothing * self.mean + (1 - self.smoothing) * mean, self.low, self.high),
            std=np.maximum(self.smoothing * self.std + (1 - self.smoothing) * std, self.least_std),
        )

    def shifted(self, steps: int) -> "GaussianBelief":
        """Return it without its first steps; the last go on as the last known one."""
        order = np.minimum(np.arange(len(self.mean)) + steps, len(self.mean) - 1)
        return replace(self, mean=self.mean[order], std=self.std[order])


def colored_noise(shape: Sequence[int], steps: int, color: float, rng: np.random.Generator) -> Floats:
    """Draw Gaussian noise with variance 1 whose neighbouring steps are alike.

    Args:
        shape: Of how much of it, independent.
        steps: Length of the last axis.
        color: The power spectrum is `1 / f^color`; frequency 0 has the power of the lowest one above.
        rng: Consumed: two numbers a frequency.

    Source: J. Timmer, M. Koenig, On generating power law noise, Astronomy and Astrophysics 300, 1995.
    """
    frequencies = np.maximum(np.fft.rfftfreq(steps), 1 / steps)
    scale = frequencies ** (-color / 2)
    real, imaginary = rng.standard_normal((2, *shape, len(scale)))
    single = np.zeros(len(scale), np.bool_)  # frequencies that are real and come once, not as a conjugate pair
    single[0] = True
    single[-1] |= steps % 2 == 0
    parts = np.where(single, real, (real + 1j * imaginary) / np.sqrt(2)) * scale
    power = np.where(single, 1, 2) @ scale**2
    return np.asarray(np.fft.irfft(parts, n=steps, axis=-1) * steps / np.sqrt(power))
