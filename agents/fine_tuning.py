"""Going on from a policy that is there, such as a clone: its actor is kept, and a critic learned before it changes.

A critic that knows nothing tells the actor nonsense, and what was cloned is soon unlearned. So the critic learns alone
at first, with eyes of its own, and nothing that the actor acts by is touched meanwhile.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from agents.algorithms import CLOSE_TO_CLONE, Algorithm
from agents.sb3 import load_learner, make_learner
from agents.training_folder import policy_file, settings_of_training

ACTOR = ("pi_features_extractor", "lstm_actor", "mlp_extractor.policy_net", "action_net")
"""Parts of SB3's actor-critic policies that decide how they act."""
COPIED = {"pi_features_extractor": "vf_features_extractor", "lstm_actor": "lstm_critic"}
"""Where the actor sees and remembers, and where the critic does: it begins with the same."""


@dataclass(frozen=True)
class PolicyToContinue:
    """A policy to go on from, by which algorithm, and what it sees.

    Attributes:
        folder: Where it is.
        trained_by: What it was made for.
        algorithm: To go on with.
        observation: What it sees.
    """

    folder: Path
    trained_by: Algorithm
    algorithm: Algorithm
    observation: str


def policy_to_continue(
    folder: Path, chosen: Algorithm, world_model: str, *, tokenizer: str | None = None
) -> PolicyToContinue:
    """Look at the policy in a folder, and whether it can be gone on from.

    Args:
        folder: Of a training or a cloning.
        chosen: By the user, to go on with; "ppo" stands for RecurrentPPO where the policy is recurrent.
        world_model: Fingerprint of the one in whose dreams; see `settings_of_training`.
        tokenizer: Likewise.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, of another world model, or cannot be gone on from by this algorithm.
    """
    kept = settings_of_training(folder, world_model, ("algorithm", "observation"), tokenizer=tokenizer)
    algorithm = fitting_algorithm(chosen, kept["algorithm"], folder)
    load_learner(policy_file(folder), kept["algorithm"])
    return PolicyToContinue(folder, kept["algorithm"], algorithm, kept["observation"])


def fitting_algorithm(chosen: Algorithm, trained_by: Algorithm, folder: Path) -> Algorithm:
    """Return the algorithm by which to go on from the policy in a folder.

    Args:
        chosen: By the user; "ppo" stands for RecurrentPPO where the policy is recurrent.
        trained_by: What the policy was made for.
        folder: Of the policy, for messages.

    Raises:
        ValueError: One of the two has no actor, or only one of them is recurrent.
    """
    for name, what in ((chosen, f"--algorithm {chosen}"), (trained_by, f"the policy in {folder}, of {trained_by},")):
        if name == "dqn":
            raise ValueError(
                f"{what} has no actor: DQN acts by values, which a policy does not tell. To go on from a policy, pass "
                "--algorithm ppo, recurrent_ppo or a2c, and the folder of a policy of one of these, or of a clone."
            )
    if trained_by == "recurrent_ppo":
        if chosen == "a2c":
            raise ValueError(
                f"--algorithm a2c given, but the policy in {folder} has an LSTM. Fix: --algorithm recurrent_ppo."
            )
        return "recurrent_ppo"
    if chosen == "recurrent_ppo":
        raise ValueError(
            f"--algorithm recurrent_ppo given, but the policy in {folder} has no LSTM. Fix: --algorithm ppo, or a2c."
        )
    return chosen


def continue_policy(policy: PolicyToContinue, env: VectorEnv[Any, Any, Any], **settings: Any) -> BaseAlgorithm:
    """Make a learner whose actor is that of a saved policy, and whose critic knows nothing yet.

    The network is that of the saved policy, but that actor and critic do not share an extractor. What sees, and the
    LSTM, the critic begins with copies of; what values is new. PPO's updates are kept small (`CLOSE_TO_CLONE`).

    Args:
        policy: Which; see `load_learner` for what to trust.
        env: To learn in.
        **settings: As `make_learner` takes them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or sees or does something else.
    """
    before = load_learner(policy_file(policy.folder), policy.trained_by)
    for name, theirs, ours in (
        ("observations", before.observation_space, env.single_observation_space),
        ("actions", before.action_space, env.single_action_space),
    ):
        if theirs != ours:
            raise ValueError(
                f"{policy.folder}: its policy has {name} in {theirs}, expected {ours}, as the environment has."
            )
    left_out = ("optimizer_class", "optimizer_kwargs", "use_sde")
    network = {name: value for name, value in before.policy_kwargs.items() if name not in left_out}
    near = {} if policy.algorithm == "a2c" else CLOSE_TO_CLONE
    network["share_features_extractor"] = False
    learner = make_learner(policy.algorithm, env, policy_kwargs=network, **(near | settings))
    take_actor(learner.policy, before.policy)
    return learner


@torch.no_grad()
def take_actor(policy: nn.Module, other: nn.Module) -> None:
    """Give a policy the actor of another one, and its critic copies of what that actor sees and remembers by.

    Args:
        policy: SB3's actor-critic policy, recurrent or not, whose critic has an extractor of its own.
        other: One with the same network.
    """
    theirs = {name: part for name, part in other.named_modules(remove_duplicate=False) if name in ACTOR}
    ours = dict(policy.named_modules(remove_duplicate=False))
    for name, part in theirs.items():
        for place in (name, COPIED.get(name)):
            if place is not None and isinstance(ours.get(place), nn.Module):
                ours[place].load_state_dict(part.state_dict())


class CriticWarmup(BaseCallback):
    """Lets only the critic learn in the first rollouts; the actor acts, and stays as it is to the bit.

    A training that goes on later counts the rollouts before.

    Args:
        rollouts: How many; 0 for none.
    """

    def __init__(self, rollouts: int) -> None:
        super().__init__()
        self._rollouts = rollouts

    def _on_training_start(self) -> None:
        self._updates = getattr(self.model, "n_epochs", 1) * self._rollouts

    def _on_rollout_start(self) -> None:
        """Freeze the actor, or let it go."""
        learns = self.model._n_updates >= self._updates
        for parameter in actor_parameters(self.model.policy):
            parameter.requires_grad_(learns)

    def _on_step(self) -> bool:
        return True


def actor_parameters(policy: nn.Module) -> list[nn.Parameter]:
    """Return what a policy acts by; an extractor shared with the critic is part of it."""
    parts = dict(policy.named_modules(remove_duplicate=False))
    return [parameter for name in ACTOR if name in parts for parameter in parts[name].parameters()]
