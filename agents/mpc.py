"""Act by planning: branch from where the environment stands, search, act, and plan again (receding horizon)."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from agents.box_plans import BoxSearch, GaussianCEM, GaussianMPPI, plan_box
from agents.branches import Critic, Root, check_branching, roots, score_branches
from agents.discrete_plans import CategoricalCEM, CategoricalMPPI, DiscreteSearch, RandomShooting, plan_discrete
from agents.interfaces import BranchingVectorEnv
from agents.search_settings import check_least
from agents.trajectory_optimizers import Floats, Plan
from agents.tree_search import Prior, TreeSearch, tree_search

DRAWS = 40_000
"""Sets the streams of draws by visits apart from others of the same seed."""


@dataclass(frozen=True)
class MPCConfig:
    """How far to look ahead, and how often.

    Attributes:
        horizon: Actions of a plan.
        hold: Steps that each action is taken for: a plan is `horizon * hold` steps long.
        replan_every: Actions of a plan that are taken before the next is made.
        discount: A step.
    """

    horizon: int = 12
    hold: int = 1
    replan_every: int = 1
    discount: float = 0.99

    def __post_init__(self) -> None:
        """Refuses numbers that are no horizon, and plans that end before the next is made."""
        check_least(self, horizon=1, hold=1, replan_every=1, discount=0.0)
        if self.discount > 1:
            raise ValueError(f"discount = {self.discount}, expected a number from 0 to 1.")
        if self.replan_every > self.horizon:
            raise ValueError(
                f"replan_every = {self.replan_every}, expected at most horizon = {self.horizon}: a plan has no more "
                "actions. Fix: plan further, or more often."
            )


class MPCAgent:
    """A `Policy` that plans sequences of actions in branches of an environment and takes the first ones.

    It plans from states, not from observations, and learns them in one of two ways. Without `root` the environment that
    it plans in is also the one that it acts in: it branches from there and puts everything back. With `root` that
    function says where the environments acted in stand, as states that the planning environment can restore, which
    it then has to itself: `lambda: [real.clone_state([0])]` for a simulator, or whatever has watched real frames and
    holds a dream's state for each. `root` is called exactly once in every `act`, before anything is planned.

    States carry their random generators, so all candidates of one plan meet the same chance (common random numbers):
    they differ by their actions only. In the environment's own states it is also the chance that really comes.

    An ended branch collects nothing more, in any autoreset mode, and a terminated one has no value after it. A time
    limit of the planning environment cuts plans short as it does episodes; to look beyond it, plan without one.

    Args:
        env: Where to plan; `num_envs` branches are taken at a time, each of the size of one state.
        search: Which search, and its settings: for `Discrete` actions `RandomShooting`, `CategoricalCEM` or
            `CategoricalMPPI`, for a `Box` of them `GaussianCEM` or `GaussianMPPI`.
        config: How far to look.
        seed: Fixes all plans: row `i` has a generator of its own.
        critic: Value of the last observations of branches, in units of the discounted return; None for 0.
        root: See above.

    Attributes:
        plans: Of each row the last plan as far as it is still to come; None before the first.

    Raises:
        ValueError: The environment cannot be branched, or the search does not fit its actions.

    Randomness: one generator a row, which goes on through episodes.
    """

    def __init__(
        self,
        env: BranchingVectorEnv,
        search: DiscreteSearch | BoxSearch,
        config: MPCConfig = MPCConfig(),
        *,
        seed: int,
        critic: Critic | None = None,
        root: Root | None = None,
    ) -> None:
        check_branching(env)
        space = env.single_action_space
        fits = {Discrete: (RandomShooting, CategoricalCEM, CategoricalMPPI), Box: (GaussianCEM, GaussianMPPI)}
        if not isinstance(search, fits.get(type(space), ())):
            raise ValueError(
                f"{type(search).__name__} cannot plan actions of {space}; expected RandomShooting, CategoricalCEM or "
                "CategoricalMPPI for Discrete, GaussianCEM or GaussianMPPI for Box."
            )
        self._env, self._search, self._config, self._seed = env, search, config, seed
        self._critic, self._root = critic, root
        self._rngs: list[np.random.Generator] = []
        self._waiting: list[deque[Any]] = []
        self.plans: list[Plan | None] = []

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the next action of each row's plan, planning where there is none left; observations are not read.

        Raises:
            ValueError: There is not one state a row, or every candidate of a row returned NaN.
        """
        self._forget(is_first)
        due = [row for row, waiting in enumerate(self._waiting) if not waiting]
        if self._root is not None or due:
            with roots(self._env, self._root, len(is_first)) as states:
                if due:
                    self._plan(due, [states[row] for row in due])
        return np.stack([waiting.popleft() for waiting in self._waiting])

    def _forget(self, is_first: NDArray[np.bool_]) -> None:
        """Drop the plans of rows that start anew; of all, if their number is another than before."""
        count = len(is_first)
        if len(self.plans) != count:
            self._waiting, self.plans = [deque() for _ in range(count)], [None] * count
        while len(self._rngs) < count:
            self._rngs.append(np.random.default_rng([self._seed, len(self._rngs)]))
        for row in np.flatnonzero(is_first):
            self.plans[row] = None
            self._waiting[row].clear()

    def _plan(self, due: list[int], states: list[Any]) -> None:
        """Plan for some rows, from their states, and queue the first actions."""
        config, space = self._config, self._env.single_action_space

        def score(actions: NDArray[Any]) -> Floats:
            held = np.repeat(self._to_space(actions), config.hold, axis=2)
            return score_branches(self._env, states, held, config.discount, self._critic)

        rngs, before = [self._rngs[row] for row in due], [self.plans[row] for row in due]
        if isinstance(self._search, GaussianCEM | GaussianMPPI):
            assert isinstance(space, Box)
            plans = plan_box(score, space.low, space.high, config.horizon, rngs, self._search, before)
        else:
            assert isinstance(space, Discrete)
            plans = plan_discrete(score, int(space.n), config.horizon, rngs, self._search, before)
        for row, plan in zip(due, plans, strict=True):
            if np.isnan(plan.value):
                raise ValueError(
                    f"every candidate for row {row} returned NaN, expected returns. Likely cause: NaN in the "
                    "environment's rewards, or in the critic's values."
                )
            taken = self._to_space(plan.actions[: config.replan_every])
            self._waiting[row].extend(np.repeat(taken, config.hold, axis=0))
            self.plans[row] = plan.shifted(config.replan_every)

    def _to_space(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return planned actions as elements of the environment's space."""
        space = self._env.single_action_space
        first = int(space.start) if isinstance(space, Discrete) else 0
        return np.asarray((actions + first).astype(space.dtype))


class TreeSearchAgent:
    """A `Policy` that searches a tree before each action and takes the most visited one, or draws it by its visits.

    How it learns where it stands is as for `MPCAgent`, and so is what clones mean. It begins each tree anew.

    Args:
        env: Where to plan; its actions are `Discrete`.
        search: Settings of the search; each action is taken for `hold` steps.
        critic: See `tree_search`.
        prior: See `tree_search`.
        root: See `MPCAgent`.
        root_observations: `root_observations() -> observations`: what the prior sees of the states to plan from, one a
            row; asked with each plan, after `root`. Without it the roots have no prior: what `act` is given may be of
            another kind.
        temperature: 0 takes the most visited action; else it is drawn in proportion to its visits to the power
            `1 / temperature`. Where the search finds nothing, at 1, it acts about as its prior does, without what that
            does in less than a share of `1 / simulations`, which is hardly ever visited.
        seed: Fixes the draws: row `i` has a generator of its own.

    Raises:
        ValueError: The environment cannot be branched, its actions are not `Discrete`, or the temperature is negative.

    Randomness: one draw a row and plan, if the temperature is not 0.

    Source of drawing by visits: arXiv:1911.08265, as `tree_search`.
    """

    def __init__(
        self,
        env: BranchingVectorEnv,
        search: TreeSearch = TreeSearch(),  # noqa: B008 - frozen
        *,
        critic: Critic | None = None,
        prior: Prior | None = None,
        root: Root | None = None,
        root_observations: Callable[[], Any] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_branching(env)
        if not 0 <= temperature < np.inf:
            raise ValueError(f"temperature = {temperature}, expected a number, at least 0.")
        if not isinstance(env.single_action_space, Discrete):
            raise ValueError(
                f"a tree has a branch an action, of {env.single_action_space} there is no end; expected a Discrete "
                "space. Fix: MPCAgent with GaussianCEM."
            )
        self._space = env.single_action_space
        self._env, self._search, self._critic, self._prior, self._root = env, search, critic, prior, root
        self._root_observations, self._temperature, self._seed = root_observations, temperature, seed
        self._rngs: list[np.random.Generator] = []
        self._actions: NDArray[Any] = np.zeros(0, self._space.dtype)
        self._steps_left: NDArray[np.int64] = np.zeros(0, np.int64)

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[Any]:
        """Return an action for each row; observations are not read.

        Raises:
            ValueError: There is not one state a row, or nothing finite comes after any action.
        """
        if len(self._actions) != len(is_first):
            self._actions = np.zeros(len(is_first), self._space.dtype)
            self._steps_left = np.zeros(len(is_first), np.int64)
        self._steps_left[is_first] = 0
        due = np.flatnonzero(self._steps_left == 0)
        if self._root is not None or len(due):
            with roots(self._env, self._root, len(is_first)) as states:
                if len(due):
                    self._actions[due] = self._plan(due, [states[row] for row in due])
                    self._steps_left[due] = self._search.hold
        self._steps_left -= 1
        return self._actions.copy()

    def _plan(self, due: NDArray[np.int64], states: Sequence[Any]) -> NDArray[Any]:
        count, priors = int(self._space.n), None
        if self._prior is not None and self._root_observations is not None:
            priors = np.asarray(self._prior(self._root_observations()))[due]
        found = tree_search(self._env, states, count, self._search, self._critic, self._prior, priors)
        chosen = found.actions if self._temperature == 0 else self._draw(due, found.visits)
        return chosen + int(self._space.start)

    def _draw(self, due: NDArray[np.int64], visits: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw an action for each row that is due, by how often it was visited."""
        while len(self._rngs) < len(self._actions):
            self._rngs.append(np.random.default_rng([self._seed, len(self._rngs), DRAWS]))
        shares = (visits / visits.max(axis=1, keepdims=True)) ** (1 / self._temperature)
        shares /= shares.sum(axis=1, keepdims=True)
        drawn = [self._rngs[row].choice(len(share), p=share) for row, share in zip(due, shares, strict=True)]
        return np.array(drawn, np.int64)
