"""What agents ask of environments, and evaluation of agents, as protocols: no import ties them together."""

from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Policy(Protocol):
    """Something that acts in many environments at once: scripted, learned or planning."""

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> Any:
        """Choose an action for each environment.

        Args:
            observations: Of all environments, as their vector environment returns them.
            is_first: Which environments have just been reset. There a policy forgets what it remembers.

        Returns:
            One element of the vector environment's `action_space`.
        """


@runtime_checkable
class BranchingVectorEnv(Protocol):
    """A `gymnasium.vector.VectorEnv` whose past can be kept and returned to: all that a planner sees.

    A learned world offers it cheaply, a simulator that can save itself offers it as well, and both are then
    planned in by the same code. Attributes and methods that `VectorEnv` has mean what they mean there.
    """

    num_envs: int
    metadata: dict[str, Any]
    single_observation_space: gymnasium.Space[Any]
    single_action_space: gymnasium.Space[Any]
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every environment."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take an action in every environment."""

    def close(self) -> None:
        """Free what the environments hold."""

    def clone_state(self, indices: Any = None) -> Any:
        """Copy the states of some environments, or of all.

        Args:
            indices: Which, in the order wanted; None for all.

        Returns:
            A value that later steps do not change, random generators and step counters included.
        """

    def restore_state(self, state: Any, indices: Any = None) -> Any:
        """Put environments into states that `clone_state` returned; they go on from there as they did then.

        Args:
            state: Of as many environments as there are indices, or of one, which then goes everywhere.
            indices: Which environments to overwrite; None for all.
        """


@runtime_checkable
class ManyStatesVectorEnv(BranchingVectorEnv, Protocol):
    """One that copies many states at once; searches that come back to many use it where it is there."""

    def clone_states(self, indices: Any = None) -> Any:
        """Copy the states of some environments, or of all: a sequence of what `clone_state` returns for each alone.

        Args:
            indices: Which, in the order wanted; None for all.
        """

    def restore_states(self, states: Any, indices: Any = None) -> Any:
        """Put each of some environments into a state of its own.

        Args:
            states: Of one environment each, as many as there are indices; the same may occur more than once.
            indices: Which environments to overwrite, each at most once; None for all.
        """
