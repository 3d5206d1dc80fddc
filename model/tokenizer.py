"""Frame <-> latent grid: a small convolutional autoencoder with a tanh bottleneck.

Both work at a quarter of the frame's resolution and below, and rearrange channels from and into pixels at the ends:
convolutions over few wide channels are what a processor does fast.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.axes import Latent
from model.config import TokenizerConfig

Frames = Float[Tensor, "b 3 H W"]


class Residual(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        """Makes the convolutions."""
        super().__init__()
        self.inner = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, v: Float[Tensor, "b c x y"]) -> Float[Tensor, "b c x y"]:
        """Input plus what the convolutions make of it."""
        out: Tensor = v + self.inner(v)
        return out


class Tokenizer(nn.Module):
    """Turns frames into latents of about unit variance and back.

    Latents are bounded: the encoder ends in tanh, divided by `scale`, the standard deviation over the training frames.
    """

    scale: Float[Tensor, ""]

    def __init__(self, config: TokenizerConfig) -> None:
        """Builds encoder and decoder with fresh weights from torch's default generator."""
        super().__init__()
        self.config = config
        low, high = config.encoder_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, low, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(low, high, 4, stride=2, padding=1),
            Residual(high),
            nn.SiLU(),
            nn.Conv2d(high, config.latent_channels, 1),
        )
        top, *more = config.decoder_channels
        stages = [nn.Conv2d(config.latent_channels, top, 3, padding=1), Residual(top)]
        for middle in more:
            stages += [nn.Conv2d(top, 4 * middle, 1), nn.PixelShuffle(2), Residual(middle), Residual(middle)]
        last, factor = (more[0], 4) if more else (top, 8)
        stages += [nn.SiLU(), nn.Conv2d(last, 3 * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
        self.decoder = nn.Sequential(*stages)
        self.register_buffer("scale", torch.ones(()))

    def encode(self, frames: Frames) -> Latent:
        """Latents of frames.

        Args:
            frames: pixel intensity in [-1, 1].

        Raises:
            ValueError: the frames have another size than the tokenizer was made for.
        """
        size = self.config.frame_size
        if tuple(frames.shape[1:]) != (3, size, size):
            raise ValueError(
                f"frames of shape {tuple(frames.shape[1:])} given, expected (3, {size}, {size}); resize them."
            )
        bounded: Tensor = torch.tanh(self.encoder(frames)) / self.scale
        return bounded

    def decode(self, latents: Latent) -> Frames:
        """Frames of latents, pixel intensity about [-1, 1], not clipped; latents beyond the encoder's reach are."""
        bounded = (latents * self.scale).clamp(-1, 1)
        frames: Tensor = self.decoder(bounded.contiguous(memory_format=torch.channels_last))  # a sixth faster
        return frames

    def reconstruct(self, frames: Frames, generator: torch.Generator) -> Frames:
        """Frames through the bottleneck with its training noise.

        Args:
            frames: pixel intensity in [-1, 1].
            generator: consumed for the bottleneck's noise.
        """
        latents = self.encode(frames)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        return self.decode(latents + self.config.bottleneck_noise / self.scale * noise)
