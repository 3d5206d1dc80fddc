"""How much dreamed frames resemble real ones: PSNR and SSIM, and LPIPS where its weights are at hand."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from wmgym.codec import frames_to_tensor, psnr
from wmgym.errors import DependencyError

Frames = NDArray[np.uint8]
Numbers = NDArray[np.float64]
AT_ONCE = 256
SSIM_WINDOW = 11
"""Pixels along each side that SSIM compares together."""
PEAK_PSNR = 60.0
"""Frames that are equal have no PSNR; they count as this many dB where PSNR is averaged."""


def crop(frames: Frames, border: int) -> Frames:
    """Return frames `(..., H, W, 3)` without their outermost pixels on each side."""
    return frames[..., border : frames.shape[-3] - border, border : frames.shape[-2] - border, :]


def squared_error(real: Frames, dreamed: Frames) -> Numbers:
    """Return the mean squared error of each frame `(..., H, W, 3)` as a share of the squared peak, 0 to 1."""
    ours, theirs = (v.reshape(-1, *v.shape[-3:]) for v in (real, dreamed))
    parts = [psnr(ours[i : i + AT_ONCE], theirs[i : i + AT_ONCE]) for i in range(0, len(ours), AT_ONCE)]
    return np.asarray(10 ** (-np.concatenate(parts) / 10)).reshape(real.shape[:-3])


def psnr_of(error: Numbers) -> float:
    """Return the PSNR in dB of an average squared error, at most `PEAK_PSNR`."""
    return float(min(PEAK_PSNR, -10 * np.log10(max(float(error.mean()), 1e-12))))


def ssim(real: Frames, dreamed: Frames) -> Numbers:
    """Return the structural similarity of each frame (torchmetrics, Gaussian window of 11 pixels), at most 1.

    Args:
        real: `(..., H, W, 3)`.
        dreamed: Of the same shape.
    """
    ours, theirs = (v.reshape(-1, *v.shape[-3:]) for v in (real, dreamed))
    values = []
    for start in range(0, len(ours), AT_ONCE):
        first, second = (frames_to_tensor(v[start : start + AT_ONCE]) / 2 + 0.5 for v in (theirs, ours))
        found = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none")
        values.append(torch.as_tensor(found).reshape(-1).double().numpy())
    return np.concatenate(values).reshape(real.shape[:-3])


def likeness(real: Frames, dreamed: Frames, network: nn.Module | None = None) -> dict[str, float]:
    """Return mean SSIM of frames, and mean LPIPS where its network is given.

    Args:
        real: `(..., H, W, 3)`.
        dreamed: Of the same shape.
        network: Of `load_lpips`.
    """
    found = {"ssim": float(ssim(real, dreamed).mean())}
    return found if network is None else found | {"lpips": float(lpips(real, dreamed, network).mean())}


def load_lpips() -> nn.Module:
    """Return the network that `lpips` asks (torchmetrics, AlexNet).

    Raises:
        DependencyError: torchvision is missing, or its weights are neither here nor to be had.
    """
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        return LearnedPerceptualImagePatchSimilarity(net_type="alex", reduction="sum")
    except Exception as error:  # missing package, no network, damaged download: all mean the same here
        raise DependencyError(
            f"LPIPS cannot be measured ({type(error).__name__}: {error}). It needs torchvision (pip install "
            "torchvision, in the version that fits torch) and the weights of AlexNet, which torchvision downloads "
            "once. Install it where there is a network, or leave LPIPS out."
        ) from error


def lpips(real: Frames, dreamed: Frames, network: nn.Module) -> Numbers:
    """Return the learned perceptual distance of each frame, 0 for equal frames.

    Args:
        real: `(..., H, W, 3)`.
        dreamed: Of the same shape.
        network: Of `load_lpips`.
    """
    ours, theirs = (frames_to_tensor(v.reshape(-1, *v.shape[-3:])) for v in (real, dreamed))
    with torch.inference_mode():
        values = [float(network(a[None], b[None])) for a, b in zip(theirs, ours, strict=True)]
    return np.array(values).reshape(real.shape[:-3])
