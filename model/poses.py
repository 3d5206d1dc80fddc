"""Poses as conditioning: where a camera is and looks, as seen from where it was at a sequence's first frame."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from model.axes import Poses

POSE_SIZE = 4
WAVES = 8
"""Wavelengths by which positions are told apart, in the unit of positions; in equal ratios."""
SHORTEST_WAVE, LONGEST_WAVE = 2.5, 100.0
POSE_FEATURES = POSE_SIZE + 4 * WAVES


def take(poses: Tensor | None, *index: Any) -> Tensor | None:
    """`poses[index]`, if there are any."""
    return None if poses is None else poses[index]


def relative_poses(positions: Float[Tensor, "b t 2"], directions: Float[Tensor, "b t 2"]) -> Poses:
    """Position and heading of each frame in the frame of reference of the first (arXiv:2505.20171 section 4.1).

    Args:
        positions: in any unit and origin.
        directions: unit vectors along which the camera looks.

    Returns:
        `[b t 4]`: how far ahead of the first frame's camera, how far to its left, and cosine and sine of the angle by
        which it has turned left since. The first row is `(0, 0, 1, 0)`.
    """
    ahead = directions[:, :1]
    left = torch.stack([-ahead[..., 1], ahead[..., 0]], dim=-1)
    moved = positions - positions[:, :1]
    parts = [(moved * ahead).sum(-1), (moved * left).sum(-1), (directions * ahead).sum(-1), (directions * left).sum(-1)]
    return torch.stack(parts, dim=-1)


def pose_features(poses: Poses) -> Float[Tensor, "b t features"]:
    """Poses as an MLP can tell them apart: beside the numbers themselves sine and cosine of positions at 8 wavelengths.

    An MLP of the bare numbers is smooth: two places a step apart look the same to it, and memory mixes them up
    (Fourier features, arXiv:2006.10739; a deviation from arXiv:2505.20171, which has the MLP alone).
    """
    waves = torch.logspace(math.log10(SHORTEST_WAVE), math.log10(LONGEST_WAVE), WAVES, device=poses.device)
    angles = (poses[..., :2, None] * (2 * math.pi / waves)).flatten(-2)
    return torch.cat([poses[..., :2] / 10, poses[..., 2:], angles.sin(), angles.cos()], dim=-1)
