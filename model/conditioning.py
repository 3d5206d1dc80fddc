"""What a frame is generated under: its action or pose, its noise level and the sampler's stride, as one vector."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.actions import led_nowhere
from model.axes import START_ACTION, Actions, Conditioning, NoiseLevels, Poses
from model.config import LSSVWMConfig
from model.poses import POSE_FEATURES, pose_features


class FrameConditioning(nn.Module):
    """Adds learned embeddings of noise level, stride and action, or a small MLP's of continuous actions or of poses.

    As arXiv:2505.20171 section 4.1 has it: embeddings for discrete actions, an MLP for poses (`model.poses`); ours for
    continuous actions sees them scaled to [-1, 1], and a vector of its own stands for none.

    Noise levels are `0` (pure noise) to `max_denoising_steps` (clean). Strides are log2 of the finest steps that one
    denoising step jumps: `0` for the finest sampler, `log2(max_denoising_steps)` for the one-step sampler
    (arXiv:2410.12557, there `d`).
    """

    middle: Tensor
    half_width: Tensor

    def __init__(self, config: LSSVWMConfig) -> None:
        """Makes the tables, and the MLP if there are poses or continuous actions."""
        super().__init__()
        self.num_actions, self.action_size = config.num_actions, config.action_size
        self.action: nn.Module
        if config.pose_size or config.action_size:
            features = config.action_size or POSE_FEATURES
            self.action = nn.Sequential(
                nn.Linear(features, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
            )
        else:
            self.action = nn.Embedding(config.num_actions + 1, config.width)
            nn.init.normal_(self.action.weight, std=0.5)
        self.noise_level = nn.Embedding(config.max_denoising_steps + 1, config.width)
        self.stride = nn.Embedding(config.max_denoising_steps.bit_length(), config.width)
        nn.init.normal_(self.noise_level.weight, std=0.5)
        nn.init.zeros_(self.stride.weight)  # a stride not yet trained behaves as the finest
        self.pose_size = config.pose_size
        if config.action_size:
            self.start = nn.Parameter(torch.randn(config.width) * 0.5)  # where no action led to the frame
            middle, half_width = action_scale(config)
            self.register_buffer("middle", middle, persistent=False)
            self.register_buffer("half_width", half_width, persistent=False)

    def forward(
        self,
        actions: Actions,
        noise_levels: NoiseLevels,
        strides: Int[Tensor, "b s t"],
        poses: Poses | None = None,
    ) -> Conditioning:
        """The vector that modulates every layer.

        Args:
            actions: the action that led to each frame, or none; not looked at if the model has poses.
            noise_levels: how clean each frame of each stream is.
            strides: the sampler's step size for each frame of each stream; 0 for clean frames.
            poses: of each frame, if the model has poses.

        Raises:
            ValueError: poses are missing, or given to a model without.
        """
        if (poses is None) != (self.pose_size == 0):
            given, expected = ("none", f"{self.pose_size} numbers") if poses is None else ("poses", "none")
            raise ValueError(
                f"{given} given, expected {expected} for the pose of each frame. Likely cause: a model conditioned on "
                "poses stepped by actions alone, or the reverse."
            )
        led = self.embedded(actions) if poses is None else self.action(pose_features(poses))
        mixed = led[:, None] + self.noise_level(noise_levels) + self.stride(strides)
        activated: Tensor = nn.functional.silu(mixed)
        return activated

    def embedded(self, actions: Actions) -> Float[Tensor, "b t width"]:
        """What actions add to the vector, if the model has no poses."""
        if not self.action_size:
            table: Tensor = self.action(torch.where(actions == START_ACTION, self.num_actions, actions))
            return table
        nowhere = led_nowhere(actions)[..., None]
        scaled = ((actions - self.middle) / self.half_width).masked_fill(nowhere, 0)  # no NaN in the gradient either
        return torch.where(nowhere, self.start, self.action(scaled))


def action_scale(config: LSSVWMConfig) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
    """Middle and half width of the box of continuous actions; 1 for the width of what cannot change."""
    low, high = (torch.tensor(v, dtype=torch.float64) for v in (config.action_low, config.action_high))
    half = (high - low) / 2
    return ((low + high) / 2).float(), torch.where(half > 0, half, 1.0).float()


class Modulation(nn.Module):
    """Shift, scale and gate of one residual branch, from the conditioning vector (adaptive norm, arXiv:2212.09748)."""

    def __init__(self, width: int) -> None:
        """Scales and gates start at zero: a fresh branch adds nothing.

        Shifts do not (a deviation from arXiv:2212.09748): a fresh scan writes and reads under keys that tell poses
        apart, where it would otherwise first have to find out that there are any.
        """
        super().__init__()
        self.linear = nn.Linear(width, 3 * width)
        nn.init.normal_(self.linear.weight[:width], std=width**-0.5)
        nn.init.zeros_(self.linear.weight[width:])
        nn.init.zeros_(self.linear.bias)

    def forward(
        self, tokens: Float[Tensor, "b s t q width"], conditioning: Conditioning
    ) -> tuple[Float[Tensor, "b s t q width"], Float[Tensor, "b s t 1 width"]]:
        """Normalised, shifted and scaled tokens, and the gate for what the branch makes of them."""
        shift, scale, gate = self.linear(conditioning).unsqueeze(-2).chunk(3, dim=-1)
        normed = nn.functional.layer_norm(tokens, tokens.shape[-1:])
        return torch.addcmul(shift, normed, 1 + scale), gate
