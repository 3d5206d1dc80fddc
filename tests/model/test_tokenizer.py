"""Frames to bounded latents and back."""

from dataclasses import replace

import pytest
import torch

from model.config import PRESETS, TokenizerConfig
from model.tokenizer import Tokenizer

MICRO = PRESETS["micro"].tokenizer


@pytest.fixture
def tokenizer():
    return Tokenizer(MICRO)


@pytest.mark.parametrize("decoder_channels", [(16,), (16, 8)], ids=str)
@pytest.mark.parametrize("size", [16, 64])
@torch.no_grad()
def test_frames_become_a_grid_of_latents_and_frames_again(size, decoder_channels):
    tokenizer = Tokenizer(TokenizerConfig(size, 8, 5, (8, 16), decoder_channels))
    frames = 2 * torch.rand(3, 3, size, size) - 1
    latents = tokenizer.encode(frames)
    assert latents.shape == (3, 5, size // 8, size // 8)
    assert tokenizer.decode(latents).shape == frames.shape


@torch.no_grad()
def test_latents_are_bounded_by_the_scale(tokenizer):
    for parameter in tokenizer.encoder.parameters():
        parameter.mul_(4)
    tokenizer.scale.fill_(0.25)
    latents = tokenizer.encode(10 * torch.randn(4, 3, 64, 64))
    assert latents.abs().max() <= 4
    assert latents.abs().max() > 3.9
    assert latents.isfinite().all()


@torch.no_grad()
def test_the_scale_cancels_between_encoder_and_decoder(tokenizer):
    frames = 2 * torch.rand(2, 3, 64, 64) - 1
    latents, rebuilt = tokenizer.encode(frames), tokenizer.decode(tokenizer.encode(frames))
    tokenizer.scale.fill_(0.3)
    torch.testing.assert_close(tokenizer.encode(frames) * 0.3, latents)
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(frames)), rebuilt)


@torch.no_grad()
def test_decoding_clips_latents_beyond_the_encoders_reach(tokenizer):
    tokenizer.scale.fill_(0.5)
    latents = 10 * torch.randn(2, 4, 8, 8)
    assert torch.equal(tokenizer.decode(latents), tokenizer.decode(latents.clamp(-2, 2)))
    assert not torch.equal(tokenizer.decode(latents), tokenizer.decode(latents.clamp(-1, 1)))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 64, 64), (3, 64, 72)])
def test_refuses_frames_of_another_size(tokenizer, shape):
    """Three channels and no other are also in the type, which the shape checks of this suite enforce first."""
    if shape[0] != 3:
        with pytest.raises(Exception, match="frames"):
            tokenizer.encode(torch.zeros(2, *shape))
        return
    with pytest.raises(ValueError, match=r"\(3, 64, 64\); resize them"):
        tokenizer.encode(torch.zeros(2, *shape))


@pytest.mark.parametrize(("decoder_channels", "sides"), [((12,), {8}), ((16, 8), {8, 16})], ids=str)
@torch.no_grad()
def test_a_decoder_of_one_stage_does_all_its_work_at_the_latents_resolution(decoder_channels, sides):
    tokenizer, seen = Tokenizer(replace(MICRO, decoder_channels=decoder_channels)), set()
    for module in tokenizer.decoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, __: seen.add(inputs[0].shape[-1]))
    tokenizer.decode(torch.randn(1, 4, 8, 8))
    assert seen == sides


@pytest.mark.parametrize("decoder_channels", [(12,), (16, 8)], ids=str)
def test_every_weight_of_a_decoder_and_every_latent_cell_matters(decoder_channels):
    tokenizer = Tokenizer(replace(MICRO, decoder_channels=decoder_channels))
    latents = torch.rand(2, 4, 8, 8, requires_grad=True)
    tokenizer.decode(latents).square().sum().backward()
    for name, weight in [("latents", latents), *tokenizer.decoder.named_parameters()]:
        assert weight.grad.flatten(1 if weight.dim() == 4 else 0).any(-1).all(), name


@torch.no_grad()
def test_the_bottlenecks_noise_is_the_generators(tokenizer):
    frames = 2 * torch.rand(2, 3, 64, 64) - 1
    draws = [tokenizer.reconstruct(frames, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = tokenizer.decode(tokenizer.encode(frames) + MICRO.bottleneck_noise * noise)
    torch.testing.assert_close(draws[0], expected)


@pytest.mark.learns
def test_learns_a_handful_of_frames():
    """16 pictures of a bright square on a gradient: from 16 dB untrained to 27 dB in 80 steps."""
    ramp = torch.linspace(-1, 1, 64)
    frames = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), -ramp.expand(64, 64)])
    frames = 0.5 * frames.repeat(16, 1, 1, 1)
    for i in range(16):
        top, left = 12 * (i // 4) + 4, 12 * (i % 4) + 4
        frames[i, i % 3, top : top + 12, left : left + 12] = 1
    tokenizer, generator = Tokenizer(MICRO), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=1e-2)

    def decibels():
        with torch.no_grad():
            error = (tokenizer.decode(tokenizer.encode(frames)).clamp(-1, 1) - frames).square().mean()
        return (10 * torch.log10(4 / error)).item()

    before = decibels()
    for _ in range(80):
        loss = torch.nn.functional.mse_loss(tokenizer.reconstruct(frames, generator), frames)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before < 17
    assert decibels() > 25
