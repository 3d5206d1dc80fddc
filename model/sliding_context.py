"""Dreaming with a model that sees later frames: a few frames worked out together, the last of them from noise.

Such a model (`dfot`, arXiv:2502.06764) keeps no memory. Each dreamed frame costs a pass over its whole context for
every denoising step, and of what lies before the context nothing is known.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.actions import filled, without_first
from model.axes import Latent, Latents
from model.lssvwm import LSSVWM
from model.poses import relative_poses
from model.sampler import sample
from model.two_streams import run_streams


def imagine_in_context(
    model: LSSVWM,
    context: Latents,
    actions: Int[Tensor, "b t+1"] | Float[Tensor, "b t+1 a"],
    noise: Latent,
    denoising_steps: int,
    poses: Float[Tensor, "b t+1 pose"] | None = None,
) -> Latent:
    """Dreams the frame that follows on a context, of which only the end is looked at if it is longer than the model's.

    Args:
        model: trained with `diffusion_forcing`.
        context: the frames before, clean.
        actions: the action that led to each of these frames, and to the one to be dreamed.
        noise: standard normal; all the randomness there is.
        denoising_steps: 1, 2, 4, ... up to the config's `max_denoising_steps`.
        poses: of the same frames, in any frame of reference, if the model has poses.

    Returns:
        The dreamed frame, as the tokenizer would encode it.

    Raises:
        ValueError: `denoising_steps` is none of those, or poses are missing, or given to a model without.
    """
    c = model.config
    frames = min(c.attention_window - 1, context.shape[1])
    context, actions = context[:, context.shape[1] - frames :], actions[:, actions.shape[1] - frames - 1 :]
    actions = without_first(actions)  # what led to the first frame in sight is not shown in training either
    if poses is not None:
        poses = poses[:, poses.shape[1] - frames - 1 :]
        poses = relative_poses(poses[..., :2], poses[..., 2:])
    clean = filled(actions[:, 1:], c.max_denoising_steps)

    def denoise(z: Latent, level: int, stride: int) -> Float[Tensor, "b d h w"]:
        levels = torch.cat([clean, filled(actions[:, :1], level)], 1)
        strides = torch.cat([clean * 0, filled(actions[:, :1], stride)], 1)
        together = torch.cat([context, z[:, None]], 1)
        predicted, _ = run_streams(model, None, together, actions, levels, strides, poses)
        last: Tensor = predicted[:, -1]
        return last

    return sample(denoise, noise, denoising_steps, c.max_denoising_steps)
