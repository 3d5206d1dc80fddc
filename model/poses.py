"""Poses as conditioning: where a camera is and looks, as seen from where it was at a sequence's first frame."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from model.axes import Poses

POSE_SIZE = 4


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
