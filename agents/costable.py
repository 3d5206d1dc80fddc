"""Plan across packages: stable-worldmodel's solvers in our environments, our searches on its models.

    states, candidates -> BranchingCost.get_cost -> costs           one of its solvers searches in branches of ours
    actions -> score_of_costable(model) -> returns                  one of our searches plans on a model of its

Its models and solvers meet in one method, `get_cost(info_dict, action_candidates)`, with `[b s horizon width]`
candidates and `[b s]` costs, the smaller the better. The actions of a block, `action_block` of them, stand side by side
in `width`; a discrete action is one-hot. Nothing of that package is imported here.

Source: stable-worldmodel 0.1.1, `stable_worldmodel/protocols.py` and its solvers.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from agents.branch_states import take
from agents.branches import Critic, Root, check_branching, score_branches
from agents.interfaces import BranchingVectorEnv
from agents.trajectory_optimizers import Score

STATES = "branch_states"
"""Where in an `info_dict` the states to plan from stand: a list, which its solvers cut into batches and pass on."""


@runtime_checkable
class Costable(Protocol):
    """Whatever says what candidates cost: all that a solver of stable-worldmodel asks of a model."""

    def get_cost(self, info_dict: dict[str, Any], action_candidates: torch.Tensor) -> torch.Tensor:
        """Return `[b s]` costs of `[b s horizon width]` candidates.

        Args:
            info_dict: Where each problem stands: `[b s ...]` arrays and tensors, repeated over the candidates.
            action_candidates: Blocks of actions.
        """


class BranchingCost:
    """A `Costable` whose costs are minus the returns of branches of an environment.

    A branch returns its discounted rewards up to its first end and the value of what comes after, as for `MPCAgent`.
    Candidates in a `Box` are in its units, and cut off at its bounds. Solvers that sample will do; those that follow
    gradients will not, because none pass through an environment.

    Args:
        env: Where branches are taken, `num_envs` at a time; its actions are `Discrete` or a `Box`.
        discount: A step.
        critic: Value of the last observations of branches; None for 0.
        root: Returns the states that `info` hands out, each of one environment; the places of `env` are then
            overwritten. None for its own places, which are put back after every call.

    Raises:
        ValueError: The environment cannot be branched, or its actions are of another kind.

    Example: `solver = CategoricalCEMSolver(cost, num_samples=64, topk=8)`, then
    `solver.configure(action_space=env.single_action_space, n_envs=env.num_envs, config=plan_config)` (solvers for a box
    take `env.action_space`) and `solver.solve(cost.info())["actions"]`.
    """

    def __init__(
        self, env: BranchingVectorEnv, *, discount: float = 0.99, critic: Critic | None = None, root: Root | None = None
    ) -> None:
        check_branching(env)
        space = env.single_action_space
        if not isinstance(space, Discrete | Box):
            raise ValueError(
                f"actions of {space} given, expected Discrete or Box: solvers know no others. Fix: number the "
                "combinations, or plan in a box of all parts."
            )
        self._space = space
        self._env, self._discount, self._critic, self._root = env, discount, critic, root

    def info(self) -> dict[str, list[Any]]:
        """Return where everything stands now, as `solve` takes it; more may be added to it."""
        states = take(self._env, range(self._env.num_envs)) if self._root is None else list(self._root())
        return {STATES: states}

    def get_cost(self, info_dict: Mapping[str, Any], action_candidates: torch.Tensor) -> torch.Tensor:
        """Return `[b s]` minus the return of each candidate; infinite where it is NaN.

        Args:
            info_dict: Has `b` states, as `info` returns them or a solver's batch of these; other entries are not read.
            action_candidates: `[b s horizon width]`.

        Raises:
            ValueError: There are other states than problems, the actions do not fit the space, or gradients are wanted.
        """
        if action_candidates.requires_grad:
            raise ValueError(
                "candidates that require gradients given, expected none: they do not pass through an environment. "
                "Likely cause: a solver that descends. Fix: one that samples, such as CEMSolver or MPPISolver."
            )
        states, b = info_dict.get(STATES, ()), len(action_candidates)
        if len(states) != b:
            raise ValueError(
                f"{len(states)} states in info_dict[{STATES!r}], expected {b}, one for each problem. Likely cause: an "
                "info_dict of another environment. Fix: solver.solve({**info_dict, **cost.info()})."
            )
        actions = as_actions(self._space, action_candidates.numpy(force=True))
        # Solvers work in inference mode, which the tensors of a simulator must not become part of.
        with torch.inference_mode(False), torch.no_grad():
            own = self._env.clone_state() if self._root is None else None
            try:
                returns = score_branches(self._env, states, actions, self._discount, self._critic)
            finally:
                if own is not None:
                    self._env.restore_state(own)
        costs = np.where(np.isnan(returns), np.inf, -returns)
        return torch.as_tensor(costs, dtype=action_candidates.dtype, device=action_candidates.device)


def score_of_costable(
    model: Costable, info: Mapping[str, Any], num_actions: int | None = None, block: int = 1, batch_size: int = 1
) -> Score:
    """Return a score, for `plan_box` or `plan_discrete`, that is minus what a model says candidates cost.

    As stable-worldmodel's solvers do, it shows the model the same dictionaries again and again, so that what the model
    keeps there (the embedding of what is seen, say) is worked out once, and calls it in inference mode.

    Args:
        model: Its parameters, if any, say the device and dtype of what it is given; else float32 on the processor.
        info: Where each of `b` problems stands: `[b ...]` arrays and tensors, repeated over the candidates; lists.
        num_actions: Of how many discrete actions one-hot vectors consist; None for actions of a box.
        block: How many actions, one after the other, the model takes as one (its `action_block`).
        batch_size: How many problems the model is asked about at once. Some, such as its LeWM, know only one.

    Raises:
        ValueError: By the score: an entry is not of as many problems as the actions are, a horizon is not whole blocks,
            or the model does not return one cost a candidate.
    """
    parameter = next(iter(getattr(model, "parameters", tuple)()), torch.zeros(0))
    shown: dict[tuple[int, int], dict[str, Any]] = {}

    def score(actions: NDArray[Any]) -> NDArray[Any]:
        b, s, horizon = actions.shape[:3]
        if horizon % block:
            raise ValueError(
                f"horizon = {horizon}, expected a multiple of block = {block}: the model takes whole ones."
            )
        if wrong := {name: len(value) for name, value in info.items() if len(value) != b}:
            raise ValueError(
                f"info of {wrong} problems, expected {b}, as many as score is asked for. Fix: give plan_box or "
                "plan_discrete one generator for each."
            )
        vectors = actions if num_actions is None else actions[..., None] == np.arange(num_actions)
        candidates = torch.as_tensor(vectors.reshape(b, s, horizon // block, -1)).to(parameter)
        with torch.inference_mode():
            if (0, s) not in shown:
                shown.clear()
                for at in range(0, b, batch_size):
                    part = {name: value[at : at + batch_size] for name, value in info.items()}
                    shown[at, s] = {name: _repeated(value, s, parameter) for name, value in part.items()}
            costs = torch.cat([model.get_cost(shown[at, s], candidates[at : at + batch_size]) for at, _ in shown])
        if costs.shape != (b, s):
            raise ValueError(f"get_cost returned the shape {tuple(costs.shape)}, expected (b, s) = {(b, s)}.")
        return -costs.numpy(force=True).astype(np.float64)

    return score


def as_actions(space: Discrete | Box, candidates: NDArray[Any]) -> NDArray[Any]:
    """Return `[b s horizon width]` candidates as `[b s steps ...]` elements of a space, blocks one after the other.

    Raises:
        ValueError: The width does not consist of whole actions, or discrete ones are not one-hot.
    """
    b, s = candidates.shape[:2]
    shape = (int(space.n),) if isinstance(space, Discrete) else space.shape
    size = int(np.prod(shape))
    whole = candidates.shape[-1] % size == 0
    if isinstance(space, Box):
        if whole:
            bounded = np.clip(candidates.reshape(b, s, -1, *shape), space.low, space.high)
            return np.asarray(bounded.astype(space.dtype))
    elif whole:
        one_hot = candidates.reshape(b, s, -1, size)
        if ((one_hot == 0) | (one_hot == 1)).all() and (one_hot.sum(axis=-1) == 1).all():
            return np.asarray((one_hot.argmax(axis=-1) + space.start).astype(space.dtype))
    kind = "one-hot vectors" if isinstance(space, Discrete) else "actions"
    raise ValueError(
        f"candidates with the last axis {candidates.shape[-1]} given, expected {kind} of {size} side by side, for "
        f"{space}. Likely cause: a solver for the other kind of actions, or for another space. Fix: for Discrete "
        "CategoricalCEMSolver with env.single_action_space, for Box any other that samples with env.action_space."
    )


def _repeated(value: Any, s: int, like: torch.Tensor) -> Any:
    """Return an entry of an info dictionary as a model sees it: `[b s ...]`, floats in its dtype; lists as they are."""
    if isinstance(value, np.ndarray):
        return np.repeat(value[:, None], s, axis=1)
    if not isinstance(value, torch.Tensor):
        return value
    value = value.to(like) if value.is_floating_point() else value.to(like.device)
    return value[:, None].expand(len(value), s, *value.shape[1:])
