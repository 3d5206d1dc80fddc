"""Tree search over discrete actions with visit statistics, on branched states of an environment.

    select a path of actions -> step its last one in a branch -> value of what is seen -> back up the path

A node holds the state of one environment, opaque to the search. Trees of several problems grow side by side, and
several leaves of one tree at a time, so that one step of the vector environment serves many simulations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.branch_states import take
from agents.branches import Critic, later_values, roll
from agents.interfaces import BranchingVectorEnv
from agents.search_settings import check_least
from agents.trajectory_optimizers import Floats

Prior = Callable[[Any], NDArray[Any]]
"""`prior(observations) -> probabilities`: of all places of the vector environment, `[num_envs actions]`."""


@dataclass(frozen=True)
class TreeSearch:
    """How to search a tree.

    Attributes:
        simulations: How many paths are tried from each root, and at most how many states each tree keeps.
        parallel: How many leaves of one tree are stepped at a time, each path avoiding what is under way; fills
            the places of the environment, at some cost in what each simulation knows of the others.
        exploration: What the prior counts against normalised values in [0, 1]; the larger, the broader the tree.
        discount: A step.
        hold: Steps that each action is taken for.
    """

    simulations: int = 64
    parallel: int = 4
    exploration: float = 1.25
    discount: float = 0.99
    hold: int = 1

    def __post_init__(self) -> None:
        """Refuses numbers that say no search."""
        check_least(self, simulations=1, parallel=1, hold=1, exploration=0.0, discount=0.0)
        if self.discount > 1:
            raise ValueError(f"discount = {self.discount}, expected a number from 0 to 1.")


@dataclass(frozen=True)
class SearchResult:
    """What a search found for `b` problems.

    Attributes:
        actions: `[b]`: the most visited, of equally visited ones that of the greatest value, then the first.
        visits: `[b actions]`: simulations that went through each; their share is a policy to act or learn by.
        values: `[b actions]`: mean return of these simulations; NaN where there was none.
    """

    actions: NDArray[np.int64]
    visits: NDArray[np.int64]
    values: Floats


def tree_search(
    env: BranchingVectorEnv,
    states: Sequence[Any],
    num_actions: int,
    search: TreeSearch,
    critic: Critic | None = None,
    prior: Prior | None = None,
    root_priors: Floats | None = None,
) -> SearchResult:
    """Search a tree from each of some states.

    An action's score is its mean return, normalised by the least and greatest of its tree, plus
    `exploration * prior * sqrt(visits of all) / (1 + its visits)`; unvisited actions have their node's mean return.
    Actions after which a reward or value is not finite are never tried again. No problem depends on the others,
    apart from rounding in the environment.

    Args:
        env: Where branches are stepped, `num_envs` at most at a time; whatever is in its places is overwritten.
        states: `b` states of one environment each.
        num_actions: How many actions there are, numbered from the `start` of the environment's space.
        search: Its settings.
        critic: Value of a leaf, in units of the return; None for 0, which sees rewards only.
        prior: Probabilities of the actions of a new node; None for equal ones.
        root_priors: `[b num_actions]`: those of the roots, of which nothing is seen here; None for equal ones.

    Raises:
        ValueError: The critic or prior returns another shape, or no probabilities; nothing finite comes after any
            action.

    Randomness: none. What is random in the environment is part of its states: the tree sees one course of it, the
    one that comes, if `env` goes on from these states.

    Source: the PUCT rule and the normalisation of J. Schrittwieser et al., Mastering Atari, Go, chess and shogi by
    planning with a learned model (MuZero), arXiv:1911.08265; visits under way count for exploration only, as in
    A. Liu et al., Watch the unobserved (WU-UCT), arXiv:1810.11755. Declared deviations: `exploration` does not grow
    with visits, unvisited actions have the mean in place of 0, and no noise at the root.
    """
    first = int(getattr(env.single_action_space, "start", 0))
    equal = np.full((len(states), num_actions), 1 / num_actions)
    at_roots = equal if root_priors is None else _checked(root_priors, len(states), num_actions)
    trees = [_Tree(_Node(state, given), search) for state, given in zip(states, at_roots, strict=True)]
    while any(tree.left > 0 for tree in trees):
        leaves = [leaf for tree in trees for leaf in tree.select()]
        for start in range(0, len(leaves), env.num_envs):
            _step_leaves(env, leaves[start : start + env.num_envs], first, search, critic, prior)
        for leaf in leaves:
            leaf.tree.back_up(leaf.path)
    visits = np.stack([tree.root.visits for tree in trees])
    values = np.stack([tree.root.means(float("nan")) for tree in trees])
    if not visits.any(axis=1).all():
        raise ValueError(
            "no action of some root led to finite rewards and values. Likely cause: NaN in observations or weights."
        )
    ranked = np.where(visits == visits.max(axis=1, keepdims=True), values, -np.inf)
    return SearchResult(ranked.argmax(axis=1), visits, values)


class _Node:
    """What is known of a state: of each action its prior, visits, sum of returns, and what came right after it."""

    def __init__(self, state: Any, prior: Floats) -> None:
        count = len(prior)
        self.state, self.prior = state, prior
        self.visits, self.pending = np.zeros((2, count), np.int64)
        self.totals, self.rewards, self.weights, self.later = np.zeros((4, count))
        self.closed = np.zeros(count, np.bool_)
        self.children: list[_Node | None] = [None] * count
        self.ends = np.zeros(count, np.bool_)

    def means(self, unvisited: float) -> Floats:
        """Return the mean return of each action."""
        return np.where(self.visits > 0, self.totals / np.maximum(self.visits, 1), unvisited)


_Path = list[tuple[_Node, int]]


@dataclass(frozen=True)
class _Leaf:
    """An action never taken before, at the end of a path."""

    tree: "_Tree"
    path: _Path

    @property
    def node(self) -> _Node:
        return self.path[-1][0]

    @property
    def action(self) -> int:
        return self.path[-1][1]


@dataclass
class _Tree:
    """One problem: its root, the simulations left, and the range of returns met."""

    root: _Node
    search: TreeSearch
    left: int = field(init=False)
    least: float = np.inf
    greatest: float = -np.inf

    def __post_init__(self) -> None:
        self.left = self.search.simulations

    def select(self) -> list[_Leaf]:
        """Choose leaves to step next, up to `parallel`; paths that end in an ended episode are backed up at once."""
        leaves: list[_Leaf] = []
        while len(leaves) < self.search.parallel and self.left > 0:
            path = self._descend()
            if not path:
                self.left = 0
                break
            node, action = path[-1]
            if node.pending[action] and node.children[action] is None and not node.ends[action]:
                break  # the best path leads to a leaf that is under way: better wait for it
            self.left -= 1
            for node, action in path:
                node.pending[action] += 1
            if node.ends[action]:
                self.back_up(path)
            else:
                leaves.append(_Leaf(self, path))
        return leaves

    def back_up(self, path: _Path) -> None:
        """Add what came after the last action to the statistics of all on the path; a closed action adds nothing."""
        last, action = path[-1]
        for node, taken in path:
            node.pending[taken] -= 1
        if last.closed[action]:
            return
        value = last.later[action]
        for i, (node, taken) in enumerate(reversed(path)):
            if i > 0:
                value = node.weights[taken] * value
            value = node.rewards[taken] + value
            node.totals[taken] += value
            node.visits[taken] += 1
            mean = node.totals[taken] / node.visits[taken]
            self.least, self.greatest = min(self.least, mean), max(self.greatest, mean)

    def _descend(self) -> _Path:
        """Follow the best actions to one that has no node yet; empty if no open action is left at all."""
        node = self.root
        path: _Path = []
        while True:
            if node.closed.all():
                if not path:
                    return []
                node, action = path.pop()
                node.closed[action] = True
                continue
            action = self._best(node)
            path.append((node, action))
            child = node.children[action]
            if child is None:
                return path
            node = child

    def _best(self, node: _Node) -> int:
        visits = node.visits.sum()
        means = node.means(node.totals.sum() / visits if visits else 0.0)
        width = self.greatest - self.least
        normalised = (means - self.least) / width if width > 0 and visits else np.zeros(len(means))
        under_way = node.visits + node.pending
        bonus = self.search.exploration * node.prior * np.sqrt(max(1, under_way.sum())) / (1 + under_way)
        return int(np.where(node.closed, -np.inf, normalised + bonus).argmax())


def _step_leaves(
    env: BranchingVectorEnv,
    leaves: list[_Leaf],
    first: int,
    search: TreeSearch,
    critic: Critic | None,
    prior: Prior | None,
) -> None:
    """Take the actions of at most `num_envs` leaves, and note what comes after them, with a node where it goes on."""
    taken = np.array([leaf.action for leaf in leaves], np.int64)[:, None] + first
    actions = np.repeat(taken, search.hold, axis=1).astype(env.single_action_space.dtype)
    rolled = roll(env, [leaf.node.state for leaf in leaves], actions, search.discount)
    later = later_values(env, rolled, critic)
    priors = _read_prior(env, prior, rolled.observations, len(leaves[0].node.prior))
    going_on = []
    for i, leaf in enumerate(leaves):
        node, action = leaf.node, leaf.action
        node.rewards[action], node.weights[action], node.later[action] = rolled.returns[i], rolled.weights[i], later[i]
        node.closed[action] = not np.isfinite(rolled.returns[i] + later[i])
        node.ends[action] = rolled.ended[i]
        if not (node.closed[action] or node.ends[action]):
            going_on.append(i)
    for i, state in zip(going_on, take(env, going_on), strict=True):
        leaves[i].node.children[leaves[i].action] = _Node(state, priors[i])


def _read_prior(env: BranchingVectorEnv, prior: Prior | None, observations: Any, num_actions: int) -> Floats:
    """Return the probabilities of the actions in all places.

    Raises:
        ValueError: The prior does not give one an action and environment, or they are no probabilities.
    """
    if prior is None:
        return np.full((env.num_envs, num_actions), 1 / num_actions)
    return _checked(prior(observations), env.num_envs, num_actions)


def _checked(priors: Any, rows: int, num_actions: int) -> Floats:
    """Return probabilities as they are given, if they are such.

    Raises:
        ValueError: They are not one an action in each row, or no probabilities.
    """
    given = np.asarray(priors, np.float64)
    if given.shape != (rows, num_actions):
        raise ValueError(
            f"the prior returned the shape {given.shape}, expected ({rows}, {num_actions}): one probability an "
            "environment and action. Likely cause: the prior of one environment."
        )
    if not ((given >= 0).all() and np.allclose(given.sum(axis=1), 1, atol=1e-3)):
        raise ValueError(
            f"the prior returned {given}, expected probabilities: no negative number, and rows that sum to 1. Likely "
            "cause: logits in place of probabilities, or NaN in observations or weights."
        )
    return given
