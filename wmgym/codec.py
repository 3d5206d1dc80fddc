"""The one border crossing: uint8 numpy frames outside, float torch frames inside. Nothing else converts pixels."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


def frames_to_tensor(frames: NDArray[np.uint8], device: torch.device | str = "cpu") -> Float[Tensor, "*batch 3 H W"]:
    """Turns frames `(..., H, W, 3)` of 256 levels into pixel intensities in [-1, 1], channels first."""
    pixels = torch.tensor(np.ascontiguousarray(frames), device=device)
    return pixels.movedim(-1, -3).float() / 127.5 - 1


def tensor_to_frames(pixels: Float[Tensor, "*batch 3 H W"]) -> NDArray[np.uint8]:
    """Turns pixel intensities, clipped to [-1, 1], into frames `(..., H, W, 3)` quantised to 256 levels."""
    levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    frames: NDArray[np.uint8] = levels.movedim(-3, -1).contiguous().cpu().numpy()
    return frames


def psnr(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of frames `(..., H, W, 3)` in dB, one a frame; 255 is the peak."""
    error = (first.astype(np.float64) - second).reshape(*first.shape[:-3], -1)
    return np.asarray(10 * np.log10(255**2 / np.maximum((error**2).mean(-1), 1e-10)))
