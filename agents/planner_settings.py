"""One set of settings for all planners of discrete actions, as command lines and results have it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agents.branches import Critic, Root
from agents.discrete_plans import CategoricalCEM, CategoricalMPPI, DiscreteSearch, RandomShooting
from agents.interfaces import BranchingVectorEnv, Policy
from agents.mpc import MPCAgent, MPCConfig, TreeSearchAgent
from agents.search_settings import check_least
from agents.tree_search import Prior, TreeSearch

Planner = Literal["cem", "mppi", "shooting", "tree"]
NAMES: Mapping[Planner, str] = {
    "cem": "CEM planner", "mppi": "MPPI planner", "shooting": "shooting planner", "tree": "tree planner",
}  # fmt: skip


@dataclass(frozen=True)
class PlannerSettings:
    """How to plan, and how much of it.

    Attributes:
        planner: Cross-entropy method, MPPI, random shooting, or tree search.
        horizon: Actions of a plan; a tree goes as deep as its simulations lead.
        hold: Steps that each action is taken for.
        candidates: Sequences that each iteration tries; of a tree, its simulations.
        iterations: How often CEM and MPPI try; the others try once.
        replan_every: Actions of a plan that are taken before the next is made; a tree plans before each.
        discount: A step.
        temperature: Of a tree: 0 takes the action visited most, 1 draws it by its visits; see `TreeSearchAgent`.
    """

    planner: Planner = "cem"
    horizon: int = 4
    hold: int = 2
    candidates: int = 64
    iterations: int = 1
    replan_every: int = 2
    discount: float = 0.97
    temperature: float = 0.0

    def __post_init__(self) -> None:
        """Refuses what is no plan or no search."""
        check_least(self, candidates=1, iterations=1, temperature=0.0)
        MPCConfig(self.horizon, self.hold, self.replan_every, self.discount)
        if self.planner == "tree":
            self.tree(branches=1, rows=1)
        else:
            self.search()

    @property
    def every(self) -> int:
        """Steps from one plan to the next."""
        return self.hold if self.planner == "tree" else self.hold * self.replan_every

    @property
    def dreamed_steps(self) -> float:
        """Steps that are dreamed for one real step of one environment."""
        length = 1 if self.planner == "tree" else self.horizon
        tries = self.iterations if self.planner in ("cem", "mppi") else 1
        return self.candidates * tries * length * self.hold / self.every

    def places(self, branches: int, rows: int) -> int:
        """Return how many branches to take at a time: no more than allowed, and none that would stay empty.

        Args:
            branches: How many are allowed.
            rows: Environments acted in.
        """
        wanted = self.tree(branches, rows).parallel if self.planner == "tree" else self.candidates
        return min(branches, rows * wanted)

    def states_at_once(self, branches: int, rows: int) -> int:
        """Return how many states there are at most at a time: branches, what was seen, roots, and what trees keep.

        Branches count three times: while they are put back there are their states, joined, and as they will be stepped.

        Args:
            branches: How many are allowed.
            rows: Environments acted in.
        """
        return 3 * self.places(branches, rows) + rows * (2 + (self.candidates if self.planner == "tree" else 0))

    def search(self) -> DiscreteSearch:
        """Return the search for sequences."""
        keep = min(4, max(0, self.candidates - 2))
        if self.planner == "shooting":
            return RandomShooting(self.candidates, keep=min(1, keep))
        if self.planner == "mppi":
            return CategoricalMPPI(self.candidates, self.iterations, keep=keep)
        return CategoricalCEM(self.candidates, self.iterations, elites=max(1, self.candidates // 8), keep=keep)

    def tree(self, branches: int, rows: int) -> TreeSearch:
        """Return the search of a tree, as broad as the branches allow, and an eighth of its simulations at most."""
        parallel = max(1, min(branches // rows, self.candidates // 8))
        return TreeSearch(self.candidates, parallel=parallel, discount=self.discount, hold=self.hold)

    def agent(
        self,
        env: BranchingVectorEnv,
        *,
        rows: int,
        seed: int,
        root: Root,
        critic: Critic | None = None,
        prior: Prior | None = None,
        root_observations: Callable[[], Any] | None = None,
    ) -> Policy:
        """Return the agent that plans so.

        Args:
            env: Where to plan.
            rows: Environments acted in.
            seed: Fixes its plans, and draws by visits.
            root: See `MPCAgent`.
            critic: Value of what comes after a branch.
            prior: Of a tree's actions; sequences are searched without.
            root_observations: What the prior sees of the roots; see `TreeSearchAgent`.
        """
        if self.planner == "tree":
            return TreeSearchAgent(
                env, self.tree(env.num_envs, rows), critic=critic, prior=prior, root=root,
                root_observations=root_observations, temperature=self.temperature, seed=seed,
            )  # fmt: skip
        config = MPCConfig(self.horizon, self.hold, self.replan_every, self.discount)
        return MPCAgent(env, self.search(), config, seed=seed, critic=critic, root=root)
