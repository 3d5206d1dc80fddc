"""A network that is taught what to remember: what a teacher would do at each frame, and where its goal lies.

Predicting the next frame hardly needs what was seen long ago; finding the way back does. So the features of remembered
frames learn to tell a teacher's action, as the agent tokens of arXiv:2509.24527 section 3.3 do, and where the goal is
that the teacher knows of, both by small networks that are thrown away once the features are taught.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from model.axes import Actions, Latents
from model.lssvwm import LSSVWM
from model.memory import Memory

GOAL_SCALE = 4.0
"""Cells that count as 1 in the loss of where the goal lies."""


class Lesson(NamedTuple):
    """Stretches of recorded episodes, and what a teacher knew there.

    Attributes:
        latents: `[b t d h w]`: the frames.
        actions: `[b t]`: the action that led to each frame, or what `model.actions` has for none.
        wanted: `[b t]`: the teacher's action at each frame.
        goal: `[b t 2]`: cells ahead and cells to the left at which the goal lies, seen from the camera.
        known: `[b t]`: whether the teacher knows where the goal is.
    """

    latents: Latents
    actions: Actions
    wanted: Int[Tensor, "b t"]
    goal: Float[Tensor, "b t 2"]
    known: Bool[Tensor, "b t"]


class Taught(NamedTuple):
    """How well a lesson was learned.

    Attributes:
        action: Mean negative log probability of the teacher's action, in nats.
        goal: Huber loss of where known goals lie, in units of `GOAL_SCALE`, both directions together.
        right: `[b t]`: whether the teacher's action is the likeliest.
    """

    action: Float[Tensor, ""]
    goal: Float[Tensor, ""]
    right: Bool[Tensor, "b t"]


class Pupil(nn.Module):
    """A world model's network, and what its features have to tell while it is taught."""

    def __init__(self, dynamics: LSSVWM, hidden: int = 256, dropout: float = 0.1) -> None:
        """Puts fresh small networks on top, from torch's default generator.

        Args:
            dynamics: of whole-number actions; is taught in place.
            hidden: width of the small network.
            dropout: share of it that is left out in training.
        """
        super().__init__()
        self.dynamics = dynamics
        read = nn.Linear(dynamics.config.features, hidden)
        self.read = nn.Sequential(read, nn.SiLU(), nn.Dropout(dropout))
        self.choose = nn.Linear(hidden, dynamics.config.num_actions)
        self.locate = nn.Linear(hidden, 2)

    def forward(self, lesson: Lesson, memory: Memory) -> tuple[Taught, Memory]:
        """Takes a stretch into memory and tells how well its features tell what the teacher knew.

        Args:
            lesson: follows on `memory`.
            memory: what came before; gradients go through this stretch and end at its beginning.

        Returns:
            The losses, and the memory after the stretch, detached.
        """
        features, memory = self.dynamics.observe(memory, lesson.latents, lesson.actions)
        read = self.read(features)
        logits = self.choose(read).float()
        action = functional.cross_entropy(logits.flatten(0, 1), lesson.wanted.flatten())
        told, known = self.locate(read).float(), lesson.known.float()
        away = functional.smooth_l1_loss(told, lesson.goal / GOAL_SCALE, reduction="none").sum(-1)
        goal = (away * known).sum() / known.sum().clamp_min(1)
        return Taught(action, goal, logits.argmax(-1) == lesson.wanted), memory.detach()
