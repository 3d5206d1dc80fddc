"""Dreams remembered in training: against stepping frame by frame, and by counts of who dreams what."""

import numpy as np
import pytest
import torch

from model.diffusion import DiffusionConfig, denoising_loss
from model.lssvwm import LSSVWM
from model.own_dreams import Dreaming, draw_dreaming, dream_the_end, predict_all

FIVE_SIGMA = 5.0
"""A statistical test below fails by chance once in two million changes of the random generator."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dreaming(share, shortcut_fraction=0.0):
    return DiffusionConfig(dreaming=Dreaming(share, frames=3), context_noise=0.0, shortcut_fraction=shortcut_fraction)


@pytest.fixture
def speaking(layer_mixes, make_episode):
    """A network all of whose weights count, and an episode."""
    config = layer_mixes["micro"]
    model = LSSVWM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model, *make_episode(config, 2, 9)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_end_of_the_remembered_stream_is_what_stepping_dreams(steps, speaking):
    model, latents, actions = speaking
    dreamed = dream_the_end(model, latents, actions, 4, generator(7), steps)
    assert torch.equal(dreamed[:, :5], latents[:, :5])
    noise = generator(7)
    _, memory = model.observe(model.initial_memory(2), latents[:, :5], actions[:, :5])
    for t in range(5, 9):
        drawn = torch.randn(latents[:, t].shape, generator=noise)
        prediction, memory = model.imagine(memory, actions[:, t], drawn, steps)
        torch.testing.assert_close(dreamed[:, t], prediction.latent)
    assert not dreamed.requires_grad


@pytest.mark.parametrize("steps", [1, 4])
def test_predicting_all_is_predicting_each_frame_from_the_real_frames_before_it(steps, speaking):
    model, latents, actions = speaking
    predicted = predict_all(model, latents, actions, 1, generator(7), steps, kept=5)
    assert torch.equal(predicted[:, :5], latents[:, :5])
    noise = torch.randn(latents.shape, generator=generator(7))
    for t in range(5, 9):
        _, memory = model.observe(model.initial_memory(2), latents[:, :t], actions[:, :t])
        expected, _ = model.imagine(memory, actions[:, t], noise[:, t], steps)
        torch.testing.assert_close(predicted[:, t], expected.latent, rtol=1e-4, atol=1e-4)
    again = predict_all(model, latents, actions, 2, generator(7), steps, kept=5)
    torch.testing.assert_close(again[:, :5], latents[:, :5])
    assert not torch.allclose(again[:, 6:], predicted[:, 6:], atol=1e-4)  # from predictions, with new noise
    assert not again.requires_grad


def test_a_share_of_the_rows_remembers_dreams(scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: None, frames=12)
    denoising_loss(model, latents, actions, dreaming(0.5), generator())
    differs = (model.calls[-1][0][:, 0] != latents).flatten(2).any(2)
    kinds = [tuple(row.tolist()) for row in differs]
    everywhere, at_the_end = (tuple(t >= first for t in range(12)) for first in (8, 9))
    assert (kinds.count(everywhere), kinds.count(at_the_end), kinds.count((False,) * 12)) == (2, 2, 4)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_dreams_have_their_share_of_single_rows_too(share, scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: None, batch=1, frames=10)
    config, noise, counts = dreaming(share), generator(), [0, 0]
    for _ in range(200):
        denoising_loss(model, latents, actions, config, noise)
        first = int((model.calls[-1][0][:, 0] == latents).flatten(2).all(2).sum())  # dreamed from here on
        counts = [counts[0] + (first == 8), counts[1] + (first == 7)]
        model.calls.clear()
    for count in counts:
        assert count / 200 == pytest.approx(share / 2, abs=FIVE_SIGMA * (share / 2 * (1 - share / 2) / 200) ** 0.5)


def test_few_step_targets_meet_real_and_dreamed_pasts_alike(scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: None, batch=4, frames=10)
    config, noise = dreaming(0.5, shortcut_fraction=0.5), generator()
    pairs = set()
    for _ in range(30):
        denoising_loss(model, latents, actions, config, noise)
        streams, _, _, strides, _ = model.calls[-1]
        dreamed = (streams[:, 0] != latents).flatten(1).any(1)
        few_step = ((strides[:, 1] > 0) & (strides[:, 1] < 3)).any(1)
        pairs |= set(zip(dreamed.tolist(), few_step.tolist(), strict=True))
        model.calls.clear()
    assert pairs == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_every_weight_has_a_gradient_in_mixed_precision(fraction, speaking):
    """Passes without gradients come first; casts that they leave behind must not be used by the scored pass."""
    model, latents, actions = speaking
    config = dreaming(1.0, shortcut_fraction=fraction)
    with torch.autocast("cpu", torch.bfloat16):
        loss, features, _ = denoising_loss(model, latents, actions, config, generator())
    (loss + features.float().square().mean()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None and not name.startswith("heads.")]
    assert not missing


def test_real_frames_are_the_target_where_dreams_are_remembered(scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: clean, frames=12)
    assert denoising_loss(model, latents, actions, dreaming(0.5), generator())[0].item() == pytest.approx(0, abs=1e-9)


def test_no_row_dreams_without_a_share(scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: clean)
    denoising_loss(model, latents, actions, DiffusionConfig(context_noise=0.0, shortcut_fraction=0.0), generator())
    assert torch.equal(model.calls[-1][0][:, 0], latents)


def test_each_step_draws_its_dreams_within_the_most_and_none_without_a_share():
    most = Dreaming(0.5, passes=2, frames=3)
    drawn = [draw_dreaming(most, (1, 4), np.random.default_rng(i)) for i in range(200)]
    assert {d.passes for d in drawn} == {1, 2}
    assert {d.frames for d in drawn} == {1, 2, 3}
    assert {d.steps for d in drawn} == {1, 4}
    assert {d.share for d in drawn} == {0.5}
    assert draw_dreaming(Dreaming(0.0), (1,), np.random.default_rng(0)) is None
