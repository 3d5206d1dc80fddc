"""What both training scripts share: schedules, optimizers, moving averages, and the loss of the dynamics."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.axes import Actions, Latents, Poses
from model.diffusion import DiffusionConfig, denoising_loss
from model.heads import EVENT_WEIGHT
from model.lssvwm import LSSVWM
from model.muon import Muon


class Windows(NamedTuple):
    """A batch of windows cut from recorded episodes, encoded.

    Attributes:
        latents: `[b t d h w]`: the frames.
        actions: `[b t]` or `[b t a]`: the action that led to each frame; the first of a window is ignored.
        rewards: `[b t]`: the reward that came with each frame.
        terminated: `[b t]`: whether the episode ended with the frame.
        poses: `[b t 4]`: of each frame, relative to the first (`model.poses`), if they were recorded.
    """

    latents: Latents
    actions: Actions
    rewards: Float[Tensor, "b t"]
    terminated: Float[Tensor, "b t"]
    poses: Poses | None = None


class Losses(NamedTuple):
    """What one training step minimises; `total` is the weighted sum of the others."""

    total: Float[Tensor, ""]
    denoising: Float[Tensor, ""]
    reward: Float[Tensor, ""]
    termination: Float[Tensor, ""]


def world_model_loss(
    model: LSSVWM,
    batch: Windows,
    config: DiffusionConfig,
    generator: torch.Generator,
    head_weight: float = 0.1,
) -> Losses:
    """Denoising loss of the frames plus classification losses of rewards and terminations.

    Heads learn on remembered frames, dreamed ones included and the first of a window excepted: what came before it is
    unknown. Events are rare, and count more (`model.heads.EVENT_WEIGHT`).

    Args:
        model: the network.
        batch: windows of recorded episodes.
        config: what is noised and scored.
        generator: consumed for all noise.
        head_weight: weight of the heads' losses against the denoising loss.
    """
    denoising, features, clean = denoising_loss(
        model, batch.latents, batch.actions, config, generator, batch.poses if model.config.pose_size else None
    )
    counted = clean.float()
    counted[:, 0] = 0
    reward_logits, termination_logits = model.heads(features)
    classes = model.heads.reward_classes(batch.rewards)
    surprise = nn.functional.cross_entropy(reward_logits.float().mT, classes, reduction="none")
    reward = _weighted_mean(surprise, counted * (1 + (EVENT_WEIGHT - 1) * (classes > 0)))
    surprise = nn.functional.binary_cross_entropy_with_logits(
        termination_logits.float(), batch.terminated, reduction="none"
    )
    termination = _weighted_mean(surprise, counted * (1 + (EVENT_WEIGHT - 1) * batch.terminated))
    return Losses(denoising + head_weight * (reward + termination), denoising, reward, termination)


class Objective(nn.Module):
    """The loss as a forward pass, which is what data parallelism wraps.

    Attributes:
        diffusion: what is noised; may be changed between steps.
        batch: the windows of the next step. Not an argument: what wraps this for mixed precision rounds arguments, and
            targets and poses shall keep their precision.
    """

    batch: Windows

    def __init__(self, model: LSSVWM, diffusion: DiffusionConfig) -> None:
        """Keeps both."""
        super().__init__()
        self.model = model
        self.diffusion = diffusion

    def forward(self, generator: torch.Generator) -> Losses:
        """See `world_model_loss`."""
        return world_model_loss(self.model, self.batch, self.diffusion, generator)


def make_optimizers(model: nn.Module, learning_rate: float, use_muon: bool) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices that mix tokens inside the layers and AdamW for the rest.

    Args:
        model: what is trained.
        learning_rate: of both.
        use_muon: updates of matrices are orthogonalised (`model.muon`).
    """
    hidden: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = "layers." in name and "modulation" not in name and parameter.dim() == 2
        (hidden if use_muon and inside else other).append(parameter)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(other, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    ]
    if hidden:
        optimizers.append(Muon(hidden, model.modules(), lr=learning_rate, weight_decay=0.01))
    return optimizers


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights, which is what gets evaluated and shipped."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))


def learning_rate_factor(step: int, fraction_done: float, warmup_steps: int, cooldown: float) -> float:
    """Linear warm-up over steps, flat, then a cosine to zero over the last part of the time budget.

    Args:
        step: optimisation steps done.
        fraction_done: share of the time budget used, 0 to 1.
        warmup_steps: length of the warm-up.
        cooldown: share of the budget, at its end, over which the rate falls.
    """
    rising = min(1.0, (step + 1) / warmup_steps)
    into = (fraction_done - (1 - cooldown)) / cooldown if cooldown > 0 else 0.0
    return rising * 0.5 * (1 + math.cos(math.pi * min(max(into, 0.0), 1.0)))


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], learning_rate: float) -> None:
    """Sets the rate of every parameter group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def context_stage(fraction_done: float, stages: Sequence[tuple[float, int]]) -> int:
    """Frames per window at this point of the run: short windows first, then long ones.

    Args:
        fraction_done: share of the time budget used, 0 to 1.
        stages: (share of the budget until which a stage lasts, frames per window), in order.
    """
    for until, frames in stages:
        if fraction_done < until:
            return frames
    return stages[-1][1]


def _weighted_mean(values: Float[Tensor, "b t"], weight: Float[Tensor, "b t"] | Int[Tensor, "b t"]) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1)
