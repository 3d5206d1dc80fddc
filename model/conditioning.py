"""What a frame is generated under: its action or pose, its noise level and the sampler's stride, as one vector."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.axes import START_ACTION, Conditioning, NoiseLevels, Poses
from model.config import LSSVWMConfig
from model.poses import POSE_FEATURES, pose_features


class FrameConditioning(nn.Module):
    """Adds learned embeddings of noise level, stride, and action; or a small MLP's of the pose, if the model has poses.

    As arXiv:2505.20171 section 4.1 has it: embeddings for discrete actions, an MLP for poses (`model.poses`).

    Noise levels are `0` (pure noise) to `max_denoising_steps` (clean). Strides are log2 of the finest steps that one
    denoising step jumps: `0` for the finest sampler, `log2(max_denoising_steps)` for the one-step sampler
    (arXiv:2410.12557, there `d`).
    """

    def __init__(self, config: LSSVWMConfig) -> None:
        """Makes the tables, and the MLP if there are poses."""
        super().__init__()
        self.num_actions = config.num_actions
        self.action: nn.Module
        if config.pose_size:
            self.action = nn.Sequential(
                nn.Linear(POSE_FEATURES, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
            )
        else:
            self.action = nn.Embedding(config.num_actions + 1, config.width)
            nn.init.normal_(self.action.weight, std=0.5)
        self.noise_level = nn.Embedding(config.max_denoising_steps + 1, config.width)
        self.stride = nn.Embedding(config.max_denoising_steps.bit_length(), config.width)
        nn.init.normal_(self.noise_level.weight, std=0.5)
        nn.init.zeros_(self.stride.weight)  # a stride not yet trained behaves as the finest
        self.pose_size = config.pose_size

    def forward(
        self,
        actions: Int[Tensor, "b t"],
        noise_levels: NoiseLevels,
        strides: Int[Tensor, "b s t"],
        poses: Poses | None = None,
    ) -> Conditioning:
        """The vector that modulates every layer.

        Args:
            actions: the action that led to each frame, or `START_ACTION`; not looked at if the model has poses.
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
        led = torch.where(actions == START_ACTION, self.num_actions, actions) if poses is None else pose_features(poses)
        mixed = self.action(led)[:, None] + self.noise_level(noise_levels) + self.stride(strides)
        activated: Tensor = nn.functional.silu(mixed)
        return activated


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
