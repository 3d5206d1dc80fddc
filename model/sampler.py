"""From noise to a frame in 1, 2, 4 or 8 denoising steps: Euler steps of a shortcut model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

AnyLatents = Float[Tensor, "b *t d h w"]
Denoiser = Callable[[AnyLatents, int, int], AnyLatents]
"""`(noised latent, noise level, log2 of the stride) -> predicted clean latent`."""


def check_denoising_steps(steps: int, max_steps: int) -> None:
    """Refuses a number of steps the model was not trained for.

    Raises:
        ValueError: `steps` is not a power of two between 1 and `max_steps`.
    """
    given: Any = steps  # what users pass
    whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not whole or steps < 1 or steps > max_steps or steps & (steps - 1):
        allowed = [2**i for i in range(max_steps.bit_length())]
        raise ValueError(
            f"denoising_steps = {steps!r}, but this model samples in {allowed} steps only: it is conditioned on the "
            f"step size, which must halve a whole number of times. Pass one of {allowed}."
        )


def sample(denoise: Denoiser, noise: AnyLatents, steps: int, max_steps: int) -> AnyLatents:
    """Walks from noise to a clean latent in equal steps of `tau`.

    `z' = z + d * (f(z, tau, d) - z) / (1 - tau)` with `d = 1 / steps`: the predicted clean latent `f` turned into a
    velocity (arXiv:2410.12557 Eq. 3 with x-prediction, arXiv:2509.24527). No randomness beyond `noise`.

    Args:
        denoise: the network.
        noise: standard normal.
        steps: a power of two, at most `max_steps`.
        max_steps: the finest sampler the network was trained for.
    """
    check_denoising_steps(steps, max_steps)
    stride = max_steps // steps
    z = noise
    for level in range(0, max_steps, stride):
        clean = denoise(z, level, stride.bit_length() - 1)
        z = torch.lerp(z, clean.to(z.dtype), stride / (max_steps - level))
    return z


def draw_noise(generators: list[torch.Generator], shape: tuple[int, ...]) -> Float[Tensor, "b ..."]:
    """Standard normal noise, row i from generator i: a dream's noise does not depend on its neighbours."""
    return torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators])
