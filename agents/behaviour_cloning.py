"""Behaviour cloning: an SB3 policy learns to choose the actions of a teacher, from recorded observations.

What is cloned is the policy inside a learner, so that PPO can go on from it. Recurrent policies are trained through
time on stretches of whole episodes, with the state that they have there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from jaxtyping import Float, Int
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Demonstrations:
    """Whole episodes of one length, and what a teacher would have done.

    Attributes:
        observations: `[episodes t ...]`: what a policy sees, in any float type.
        actions: `[episodes t]`: the teacher's action at each of them.
    """

    observations: NDArray[Any]
    actions: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuses observations and actions that are not each other's."""
        if self.observations.shape[:2] != self.actions.shape or not self.actions.size:
            raise ValueError(
                f"observations of shape {self.observations.shape} and actions of shape {self.actions.shape} given, "
                "expected the same number of episodes and of steps, at least one of each."
            )


@dataclass(frozen=True)
class Cloned:
    """How well a policy does what a teacher does.

    Attributes:
        accuracy: Share of steps at which the teacher's action is the policy's likeliest.
        loss: Mean negative log probability of the teacher's action, in nats.
    """

    accuracy: float
    loss: float


def clone_behaviour(
    learner: BaseAlgorithm,
    taught: Demonstrations,
    *,
    epochs: int,
    seed: int,
    episodes_at_once: int = 32,
    stretch: int = 50,
    learning_rate: float = 1e-3,
    dropout: float = 0.0,
    on_update: Callable[[float], object] = lambda loss: None,
    on_epoch: Callable[[int], object] = lambda epoch: None,
) -> None:
    """Train the policy of a learner to choose the teacher's actions.

    Args:
        learner: With an actor-critic policy, recurrent or not, that sees such observations. The critic's own layers are
            left as they are, as is the learner's optimizer; an extractor that critic and actor share is not.
        taught: What to learn.
        epochs: Times that every step is learned from.
        seed: Fixes the order of episodes.
        episodes_at_once: Episodes in a batch.
        stretch: Steps of each in a batch; through so many steps a recurrent policy learns what to remember.
        learning_rate: Of Adam at the beginning; it falls to zero along a cosine.
        dropout: Share of what the policy sees of a frame that is hidden from it while it learns, in [0, 1): against
            learning few mazes by heart.
        on_update: Told the loss after every update.
        on_epoch: Told the number of the epoch, from 1 on, after each; the policy may be looked at then.

    Raises:
        ValueError: The actions are not those of the policy, or a number is out of range.
        FloatingPointError: An observation or a gradient is not finite. The policy is as it was before that update.

    Randomness: numpy's and torch's generators of the seed; no other.
    """
    for name, value in (("epochs", epochs), ("episodes_at_once", episodes_at_once), ("stretch", stretch)):
        if value < 1:
            raise ValueError(f"{name} = {value} given, expected 1 or more.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout = {dropout} given, expected a share in [0, 1).")
    _check_actions(learner, taught)
    policy: Any = learner.policy
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate, eps=1e-5)
    episodes, steps = taught.actions.shape
    updates = epochs * -(-episodes // episodes_at_once) * -(-steps // stretch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    rng, hiding = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        memory: Any = None
        order = rng.permutation(len(taught.actions))
        with _hidden(policy, dropout, hiding):
            for start, observations, actions in _batches(taught, order, episodes_at_once, stretch):
                logits, memory = _logits(policy, observations, None if start == 0 else memory)
                loss = functional.cross_entropy(logits, actions.flatten())
                optimizer.zero_grad()
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
                if not torch.isfinite(norm):
                    raise FloatingPointError(
                        f"a loss of {loss.item():g} has a gradient of norm {norm.item():g}, expected finite numbers. "
                        f"Likely cause: learning_rate = {learning_rate:g} is too high."
                    )
                optimizer.step()
                schedule.step()
                on_update(loss.item())
        on_epoch(epoch)


@contextmanager
def _hidden(policy: Any, share: float, generator: torch.Generator) -> Iterator[None]:
    """Hide a share of what the policy's extractor tells it, scale up the rest, and let it learn."""

    def hide(_module: Any, _inputs: Any, seen: Tensor) -> Tensor:
        shown = torch.empty(seen.shape).bernoulli_(1 - share, generator=generator) / (1 - share)
        return seen * shown.to(seen.device)

    hook = policy.pi_features_extractor.register_forward_hook(hide) if share else None
    policy.set_training_mode(True)
    try:
        yield
    finally:
        policy.set_training_mode(False)
        if hook is not None:
            hook.remove()


@torch.no_grad()
def score_clone(learner: BaseAlgorithm, taught: Demonstrations, episodes_at_once: int = 32) -> Cloned:
    """Return how often, and how surely, a policy chooses what a teacher does.

    Args:
        learner: With an actor-critic policy, recurrent or not.
        taught: Best of episodes that it did not learn from.
        episodes_at_once: Episodes in a batch.
    """
    _check_actions(learner, taught)
    memory: Any = None
    right, lost = 0, 0.0
    for start, observations, actions in _batches(taught, range(len(taught.actions)), episodes_at_once, 100):
        logits, memory = _logits(learner.policy, observations, None if start == 0 else memory)
        right += int((logits.argmax(-1) == actions.flatten()).sum())
        lost += float(functional.cross_entropy(logits, actions.flatten(), reduction="sum"))
    return Cloned(right / taught.actions.size, lost / taught.actions.size)


@torch.no_grad()
def sharpen(learner: BaseAlgorithm, temperature: float) -> None:
    """Divide the log odds of a policy's actions by a temperature: below 1, likely actions become likelier.

    A teacher whose reasons its clone only half sees is cloned as one who hesitates; drawn sharper, it goes somewhere.

    Args:
        learner: With an actor-critic policy of discrete actions; its last layer is scaled.
        temperature: Above 0; 1 changes nothing.

    Raises:
        ValueError: It is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature = {temperature} given, expected more than 0.")
    policy: Any = learner.policy
    for weight in policy.action_net.parameters():
        weight /= temperature


def _batches(
    taught: Demonstrations, order: Any, episodes: int, stretch: int
) -> Iterator[tuple[int, Float[Tensor, "b t *shape"], Int[Tensor, "b t"]]]:
    """Stretches of some episodes, one after the other, then those of others; with the step at which each begins."""
    for first in range(0, len(order), episodes):
        rows = np.asarray(order[first : first + episodes])
        for start in range(0, taught.actions.shape[1], stretch):
            span = slice(start, start + stretch)
            observations = torch.from_numpy(taught.observations[rows, span]).float()
            if not torch.isfinite(observations).all():
                raise FloatingPointError(
                    f"an observation of episodes {sorted(rows.tolist())}, steps {start} to {start + stretch - 1}, is "
                    "not finite. Likely cause: features of a damaged checkpoint, or cut off by half precision."
                )
            yield start, observations, torch.from_numpy(taught.actions[rows, span])


def _logits(policy: Any, observations: Tensor, memory: Any) -> tuple[Float[Tensor, "steps actions"], Any]:
    """Log odds of the actions at each step, episode by episode; and what a recurrent policy then remembers."""
    flat = observations.flatten(0, 1).to(policy.device)
    if not hasattr(policy, "lstm_actor"):
        return policy.get_distribution(flat).distribution.logits, None
    if memory is None:
        lstm = policy.lstm_actor
        memory = tuple(flat.new_zeros(lstm.num_layers, len(observations), lstm.hidden_size) for _ in range(2))
    chosen, memory = policy.get_distribution(flat, memory, flat.new_zeros(len(flat)))
    return chosen.distribution.logits, tuple(part.detach() for part in memory)


def _check_actions(learner: BaseAlgorithm, taught: Demonstrations) -> None:
    space = learner.action_space
    if not isinstance(space, Discrete) or space.start != 0 or not (taught.actions >= 0).all():
        raise ValueError(f"the policy acts in {space}, expected Discrete(n) from 0 on, and a teacher in it.")
    if (most := taught.actions.max()) >= space.n:
        raise ValueError(f"the teacher takes action {most}, expected 0 to {space.n - 1}, as the policy has.")
