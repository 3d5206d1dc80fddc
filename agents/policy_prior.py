"""The actor of a learned policy as a planner's prior: which actions are worth a look first."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.tree_search import Prior


def prior_of(learner: BaseAlgorithm) -> Prior:
    """Return the probabilities that a learned policy gives its actions, as tree search wants them.

    Args:
        learner: With an actor-critic policy of discrete actions; what it sees is what the planning environment shows.

    Raises:
        ValueError: It is recurrent: what it remembers is not part of the states that a tree branches from; or it has
            no probabilities, as DQN has not.
    """
    policy: Any = learner.policy
    if not hasattr(policy, "get_distribution"):
        raise ValueError(
            f"a policy of {type(learner).__name__} given, expected one with probabilities of actions, such as PPO's."
        )
    if hasattr(policy, "lstm_actor"):
        raise ValueError(
            "a recurrent policy given, expected one without a memory of its own: branches of a tree would need a copy "
            "of it each. Fix: train or clone one without, best on features, which carry the world model's memory."
        )

    @torch.no_grad()
    def prior(observations: Any) -> NDArray[np.float64]:
        seen, _ = policy.obs_to_tensor(np.asarray(observations))
        found: NDArray[np.float64] = policy.get_distribution(seen).distribution.probs.double().cpu().numpy()
        return found

    return prior
