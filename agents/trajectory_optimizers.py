"""Search for sequences of actions, given a function that scores them; no environment is known here.

    beliefs -> candidates -> score -> weights -> beliefs, some times over; the best candidate is the plan

What is common to all searches stands here; `discrete_plans` and `box_plans` say what is drawn and refitted. Axes: `b`
problems that have nothing to do with each other, `s` candidates of each, `horizon` actions of each candidate, then
the axes of one action. What is found for one problem does not depend, to the last bit, on which others are there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Score = Callable[[NDArray[Any]], NDArray[Any]]
"""`score(actions) -> returns`, `[b s horizon ...]` to `[b s]`; the larger the better, NaN is worst of all."""


@runtime_checkable
class Belief(Protocol):
    """Where the good sequences of one problem are thought to lie. A value: its methods return new ones."""

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[Any]:
        """Draw `[count horizon ...]` candidates."""

    def mode(self) -> NDArray[Any]:
        """Return the most likely sequence, `[horizon ...]`."""

    def refitted(self, candidates: NDArray[Any], weights: Floats) -> "Belief":
        """Fit to weighted candidates; weights sum to 1, or are all 0 where nothing was learned."""

    def shifted(self, steps: int) -> "Belief":
        """Leave the first steps out, now that they are taken; nothing is known of those that come in at the end."""


@runtime_checkable
class Search(Protocol):
    """How to search: `RandomShooting`, `CategoricalCEM`, `CategoricalMPPI`, `GaussianCEM` or `GaussianMPPI`."""

    @property
    def candidates(self) -> int:
        """How many sequences each iteration scores."""

    @property
    def iterations(self) -> int:
        """How often candidates are drawn, scored and learned from."""

    @property
    def keep(self) -> int:
        """How many of the best are candidates again: of the next iteration, and of the next plan."""

    def weights(self, returns: Floats) -> Floats:
        """Return what each candidate counts in the next belief, `[s]`, from its return."""


@dataclass(frozen=True)
class Plan:
    """What a search found for one problem, and what the next search can begin with.

    Attributes:
        actions: `[horizon ...]`: the best candidate of all iterations; the earliest, where several are.
        value: Its return; NaN if every candidate's was, or after `shifted`.
        kept: `[keep horizon ...]`: the best candidates of the last iteration, best first.
        belief: After the last iteration.
    """

    actions: NDArray[Any]
    value: float
    kept: NDArray[Any]
    belief: Belief

    def shifted(self, steps: int) -> "Plan":
        """Return the plan as it stands after its first actions were taken; its last action is repeated at the end.

        Args:
            steps: How many were, from 0 to the horizon.

        Raises:
            ValueError: The plan has fewer.
        """
        horizon = len(self.actions)
        if not 0 <= steps <= horizon:
            raise ValueError(f"steps = {steps}, expected 0 to {horizon}: the plan has {horizon} actions.")
        order = np.minimum(np.arange(horizon) + steps, horizon - 1)
        return replace(
            self,
            actions=self.actions[order],
            value=float("nan"),
            kept=self.kept[:, order],
            belief=self.belief.shifted(steps),
        )


def optimise(
    score: Score,
    beliefs: Sequence[Belief],
    proposals: Sequence[NDArray[Any]],
    rngs: Sequence[np.random.Generator],
    search: Search,
) -> list[Plan]:
    """Search for the best sequence of each of some problems, all at once.

    Each iteration scores draws and proposals, `candidates` of them together; from the second on, the belief's mode
    and the best so far are proposed. Draws come first, so that where nothing is better than anything else, as where no
    reward is in reach, a plan is a new draw and not the last one for ever.

    Args:
        score: See `Score`; called once an iteration.
        beliefs: One a problem: where to begin.
        proposals: One a problem, `[at most candidates, horizon ...]`: candidates of the first iteration.
        rngs: One a problem.
        search: How.

    Raises:
        ValueError: There are not as many generators and proposals as problems, or `score` returned another shape.

    Randomness: of problem `i` only `rngs[i]`, by a number of draws that its own settings say.
    """
    if not len(beliefs) == len(proposals) == len(rngs):
        raise ValueError(
            f"{len(beliefs)} beliefs, {len(proposals)} proposals and {len(rngs)} generators given; expected one a "
            "problem of each. Fix: one numpy Generator for each problem, so that none depends on the others."
        )
    beliefs, proposals = list(beliefs), list(proposals)
    plans: list[Plan | None] = [None] * len(beliefs)
    for _ in range(search.iterations):
        candidates = np.stack(
            [
                np.concatenate([belief.draw(search.candidates - len(given), rng), given])
                for belief, given, rng in zip(beliefs, proposals, rngs, strict=True)
            ]
        )
        returns = _check_returns(score(candidates), candidates.shape[:2])
        for row, (plan, tried, gained) in enumerate(zip(plans, candidates, returns, strict=True)):
            order = best_first(gained)
            first, kept = order[0], tried[order[: search.keep]]
            belief = beliefs[row] = beliefs[row].refitted(tried, search.weights(gained))
            if plan is None or _is_better(gained[first], plan.value):
                plan = Plan(tried[first], float(gained[first]), kept, belief)
            plans[row] = replace(plan, kept=kept, belief=belief)
            proposals[row] = np.concatenate([belief.mode()[None], kept])
    return [plan for plan in plans if plan is not None]


def best_first(returns: Floats) -> NDArray[np.int64]:
    """Return the numbers of the candidates, best first: NaN after -inf, and of equals the first first."""
    worse = np.where(np.isnan(returns), 1, 0)
    return np.lexsort((-np.where(np.isnan(returns), 0.0, returns), worse)).astype(np.int64)


def elite_weights(returns: Floats, elites: int) -> Floats:
    """Give the best candidates equal weight and the others none.

    Args:
        returns: `[s]`; NaN and -inf are never elite. All 0 is returned where there is nothing else.
        elites: How many.
    """
    chosen = best_first(returns)[:elites]
    chosen = chosen[returns[chosen] > -np.inf]
    weights = np.zeros(len(returns))
    weights[chosen] = 1 / max(1, len(chosen))
    return weights


def exponential_weights(returns: Floats, temperature: float) -> Floats:
    """Weigh candidates by `exp((return - best) / (temperature * gap))`, with the gap between the best and the median.

    So the weights do not depend on the unit of the returns, and grow sharper as the candidates draw together.

    Args:
        returns: `[s]`; NaN and -inf weigh nothing, +inf outweighs all that is finite. All 0 is returned where there is
            nothing else.
        temperature: The median candidate weighs `exp(-1 / temperature)` of the best.
    """
    weights = np.zeros(len(returns))
    good = returns > -np.inf  # NaN is not, either
    if not good.any():
        return weights
    best = returns[good].max()
    behind = np.zeros(good.sum()) if best == np.inf else best - returns[good]
    if best == np.inf:
        behind[returns[good] < np.inf] = np.inf
    gap = np.median(behind)
    if 0 < gap < np.inf:
        weights[good] = np.exp(-behind / (temperature * gap))
    else:  # half of them are as good as the best, or infinitely worse: the best share all weight
        weights[good] = behind == 0
    return np.asarray(weights / weights.sum())


def _is_better(value: float, than: float) -> bool:
    return bool(value > than or (np.isnan(than) and not np.isnan(value)))


def _check_returns(returns: NDArray[Any], shape: tuple[int, ...]) -> Floats:
    """Return what `score` gave as float64.

    Raises:
        ValueError: It is not one return a candidate.
    """
    given = np.asarray(returns, dtype=np.float64)
    if given.shape != shape:
        raise ValueError(
            f"score returned the shape {given.shape}, expected (b, s) = {shape}: one return a candidate. Likely cause: "
            "rewards that are not yet summed over the horizon."
        )
    return given
