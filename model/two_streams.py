"""One training pass: a remembered stream, and beside it a noised one whose every frame sees the remembered past."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.axes import Actions, Latents, Poses
from model.lssvwm import LSSVWM


def run_streams(
    model: LSSVWM,
    remembered: Latents | None,
    latents: Latents,
    actions: Actions,
    levels: Int[Tensor, "b t"],
    strides: Int[Tensor, "b t"],
    poses: Poses | None = None,
) -> tuple[Latents, Float[Tensor, "b t f"]]:
    """Predicts clean latents from empty memory.

    Args:
        model: the network.
        remembered: what is remembered, as clean; None: the noised latents themselves are.
        latents: noised.
        actions: the action that led to each frame.
        levels: noise level of each noised frame.
        strides: log2 of the stride that each noised frame is denoised with.
        poses: of each frame, if the model has poses.

    Returns:
        The predicted clean latents, and the features of the remembered frames.
    """
    streams, all_levels, all_strides = latents[:, None], levels[:, None], strides[:, None]
    if remembered is not None:
        streams = torch.stack([remembered, latents], dim=1)
        clean = torch.full_like(levels, model.config.max_denoising_steps)
        all_levels = torch.stack([clean, levels], dim=1)
        all_strides = torch.stack([torch.zeros_like(strides), strides], dim=1)
    empty = model.initial_memory(len(latents))
    predicted, features, _ = model(streams, actions, all_levels, all_strides, empty, remember=False, poses=poses)
    return predicted, features
