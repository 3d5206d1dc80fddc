"""Plans of discrete actions: random shooting, cross-entropy method and MPPI on probabilities for each step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agents.search_settings import CrossEntropy, IteratedSearch, PathIntegral, check_search
from agents.trajectory_optimizers import Floats, Plan, Score, optimise


@dataclass(frozen=True)
class RandomShooting:
    """Try sequences at random and take the best: the search that every other one must beat.

    Attributes:
        candidates: How many sequences.
        keep: How many of the best, shifted, are tried again in the next plan.
        repeat: Probability that a step repeats the action of the step before, in [0, 1].
    """

    candidates: int = 256
    keep: int = 1
    repeat: float = 0.5

    iterations: ClassVar[int] = 1
    smoothing: ClassVar[float] = 0.0
    carry_over: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        """Refuses numbers that do not fit together."""
        check_search(self)

    def weights(self, returns: Floats) -> Floats:
        """Return zeros: nothing is learned."""
        return np.zeros(len(returns))


@dataclass(frozen=True)
class CategoricalSettings(IteratedSearch):
    """Draw each action from probabilities of its step.

    Attributes:
        keep: How many of the best are tried again, in the next iteration and, shifted, in the next plan.
        smoothing: Share of the probabilities before that each iteration keeps.
        repeat: Probability that a step uses the random number of the step before again, in [0, 1]. Where the
            probabilities of both are alike, that repeats the action, and plans go somewhere; each step keeps its own
            probabilities whatever this is.
        carry_over: Share of the last plan's probabilities in those that the next begins with; the rest is uniform.
    """

    keep: int = 4
    smoothing: float = 0.1
    repeat: float = 0.5
    carry_over: float = 0.5


@dataclass(frozen=True)
class CategoricalCEM(CategoricalSettings, CrossEntropy):
    """Cross-entropy method: probabilities of each action at each step become those among the best candidates.

    Attributes: those of `IteratedSearch`, `CrossEntropy` and `CategoricalSettings`, in this order.

    Source: R. Rubinstein, The cross-entropy method for combinatorial and continuous optimization, 1999; what is kept
    and carried over as in iCEM, C. Pinneri et al., arXiv:2008.06389. Declared deviations: categorical in place of
    Gaussian, held random numbers in place of colored noise, as many candidates in each iteration, and the mode is a
    candidate in all but the first.
    """


@dataclass(frozen=True)
class CategoricalMPPI(CategoricalSettings, PathIntegral):
    """Model-predictive path integral: as `CategoricalCEM`, but every candidate counts, `exp` of its return.

    Attributes: those of `IteratedSearch`, `PathIntegral` and `CategoricalSettings`, in this order.

    Source: G. Williams et al., Information theoretic MPC for model-based reinforcement learning, ICRA 2017. Declared
    deviations: probabilities in place of means, a temperature relative to the gap between best and median, several
    iterations, kept candidates weigh as drawn ones, and the plan is the best candidate, not the mean, of which there is
    none.
    """


DiscreteSearch = RandomShooting | CategoricalCEM | CategoricalMPPI


def plan_discrete(
    score: Score,
    num_actions: int,
    horizon: int,
    rngs: Sequence[np.random.Generator],
    search: DiscreteSearch,
    before: Sequence[Plan | None] | None = None,
) -> list[Plan]:
    """Find sequences of discrete actions that score well, one a problem.

    Args:
        score: `[b s horizon]` integers from 0 to `num_actions - 1`, to returns `[b s]`.
        num_actions: How many actions there are.
        horizon: Of how many actions a plan consists.
        rngs: One a problem; how many there are says how many problems.
        search: Which search, and its settings.
        before: Of each problem the last plan, already `shifted`, or None where there is none to go on from.

    Raises:
        ValueError: A plan before has another horizon, or there are not as many as problems.

    Randomness: of problem `i` only `rngs[i]`.
    """
    uniform = np.full((horizon, num_actions), 1 / num_actions)
    beliefs, proposals = [], []
    for plan in read_before(before, len(rngs), horizon):
        belief = CategoricalBelief(uniform, search.repeat, search.smoothing)
        given = np.zeros((0, horizon), np.int64)
        if plan is not None and isinstance(plan.belief, CategoricalBelief):
            mixed = search.carry_over * plan.belief.probabilities + (1 - search.carry_over) * uniform
            belief = replace(belief, probabilities=mixed)
            modes = [belief.mode()[None]] if search.carry_over else []
            given = np.concatenate([*modes, plan.kept[: search.keep]])
        beliefs.append(belief)
        proposals.append(given)
    return optimise(score, beliefs, proposals, rngs, search)


@dataclass(frozen=True)
class CategoricalBelief:
    """A probability for each action at each step, steps apart from each other.

    Attributes:
        probabilities: `[horizon a]`.
        repeat: See `CategoricalSettings`.
        smoothing: Share of the old probabilities in refitted ones.
    """

    probabilities: Floats
    repeat: float
    smoothing: float

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw `[count horizon]` actions; `rng` gives two numbers an action."""
        shape = (count, len(self.probabilities))
        chance, held = rng.random(shape), rng.random(shape) < self.repeat
        for step in range(1, shape[1]):
            chance[:, step] = np.where(held[:, step], chance[:, step - 1], chance[:, step])
        limits = self.probabilities.cumsum(axis=1)
        limits /= limits[:, -1:]  # exactly 1 at the end: what has probability 0 is never drawn
        return np.asarray((chance[..., None] >= limits).sum(axis=-1), dtype=np.int64)

    def mode(self) -> NDArray[np.int64]:
        """Return the likeliest action of each step, the first of equals."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    def refitted(self, candidates: NDArray[Any], weights: Floats) -> "CategoricalBelief":
        """Return the weighted shares of the actions, smoothed; the same belief where all weights are 0."""
        if not weights.any():
            return self
        chosen = candidates[..., None] == np.arange(self.probabilities.shape[1])
        shares = (weights[:, None, None] * chosen).sum(axis=0)
        return replace(self, probabilities=self.smoothing * self.probabilities + (1 - self.smoothing) * shares)

    def shifted(self, steps: int) -> "CategoricalBelief":
        """Return it without its first steps; the last are uniform."""
        horizon, num_actions = self.probabilities.shape
        unknown = np.full((steps, num_actions), 1 / num_actions)
        return replace(self, probabilities=np.concatenate([self.probabilities[steps:], unknown])[:horizon])


def read_before(before: Sequence[Plan | None] | None, problems: int, horizon: int) -> Sequence[Plan | None]:
    """Return one earlier plan, or None, a problem.

    Raises:
        ValueError: There are not as many as problems, or one has another horizon.
    """
    if before is None:
        return [None] * problems
    horizons = {len(plan.actions) for plan in before if plan is not None}
    if len(before) != problems or horizons - {horizon}:
        raise ValueError(
            f"{len(before)} plans before with horizons {sorted(horizons)} given, expected {problems} (one for each "
            f"generator, or None) with horizon {horizon}. Fix: leave `before` out to plan from nothing."
        )
    return before
