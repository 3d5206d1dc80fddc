"""How sure a model is of the next frame: the same one drawn several times, and how far apart the draws are."""

import torch
from jaxtyping import Float
from torch import Tensor

from model.axes import Action
from model.sampler import check_denoising_steps
from wmgym.arrays import read_integer
from wmgym.stepping import Stepping

DRAWING_STEPS = 2
"""The fewest denoising steps that draw: one gives the mean of what could come next, whatever the noise. In the shipped
checkpoint draws in one step lie 0.02 apart, in two 0.27, in four 0.31; those of two and of four correlate by 0.9."""


class Disagreement:
    """Draws the next frame of every dream from several noises, without the dreams taking any part in it.

    For a dream's state and action, with `v[s]` the frame drawn from noise `s`, in latents of about unit variance:

        disagreement = sqrt(mean over the latent's numbers of the variance of v over s)

    0 is certainty; 1 would be draws as different as frames that have nothing to do with each other. The noises are the
    same few for all dreams and all steps, so it is a function of state and action, and no generator is touched. Beside
    them, `samples` latents a dream are held while it is measured: 4 KB each in the shipped checkpoint.

    Args:
        samples: Draws, at least 2. Few do, because a latent has many numbers.
        shape: Of a latent.
        device: Where the dreams are.
        denoising_steps: Of the dreams; the draws take as many, but at least `DRAWING_STEPS`.
        most_steps: The model's finest sampler.

    Raises:
        ValueError: `samples` is less than 2, or the model was trained for one denoising step only.
    """

    def __init__(
        self, samples: int, shape: tuple[int, ...], device: torch.device, denoising_steps: int, most_steps: int
    ) -> None:
        count = read_integer(samples, "disagreement_samples", least=2)
        self._steps = max(DRAWING_STEPS, denoising_steps)
        check_denoising_steps(self._steps, most_steps)
        noises = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(count)]
        self._noises = torch.stack(noises).to(device)

    @torch.inference_mode()
    def measure(self, stepping: Stepping, memory: object, action: Action) -> Float[Tensor, " b"]:
        """Return the disagreement of each dream; the memory stays as it is.

        Args:
            stepping: By which the dreams are stepped.
            memory: Of that stepping.
            action: What each dream does next.
        """
        latents = [
            stepping.draw(memory, action, noise.expand(len(action), *noise.shape).contiguous(), self._steps)
            for noise in self._noises
        ]
        return torch.stack(latents).float().var(0).flatten(1).mean(1).sqrt()
