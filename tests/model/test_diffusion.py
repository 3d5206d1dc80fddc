"""Noise levels, strides, prefixes and losses, against counts, sums by hand and an oracle."""

import pytest
import torch

from model.diffusion import DiffusionConfig, add_noise, denoising_loss, shortcut_target
from model.sampler import sample

MAX_STEPS = 8
FIVE_SIGMA = 5.0
"""A statistical test below fails by chance once in two million changes of the random generator."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw_noised(mode, rows=64, frames=20, shortcut_rows=16, latents=None, **changes):
    latents = torch.randn(rows, frames, 1, 2, 2) if latents is None else latents
    config = DiffusionConfig(mode=mode, **changes)
    return latents, add_noise(latents, config, MAX_STEPS, shortcut_rows, generator())


@pytest.mark.parametrize("mode", ["clean_past", "diffusion_forcing"])
def test_levels_are_multiples_of_the_stride_below_clean(mode):
    _, noised = draw_noised(mode, rows=200, shortcut_rows=100)
    levels, strides, scored = noised.levels, noised.strides, noised.scored
    assert (levels[scored] % (1 << strides[scored]) == 0).all()
    assert (levels[scored] + (1 << strides[scored]) <= MAX_STEPS).all()
    assert (levels >= 0).all()
    assert set(strides[:100][scored[:100]].tolist()) == {1, 2}
    assert set(strides[100:][scored[100:]].tolist()) == {0, 3}
    assert not levels[strides == 3].any()
    assert set(levels[100:][scored[100:]].tolist()) == set(range(MAX_STEPS))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_pure_noise_has_its_share_and_the_other_levels_the_rest(share):
    _, noised = draw_noised("clean_past", rows=400, frames=64, shortcut_rows=0, pure_noise_probability=share)
    counts = torch.bincount(noised.levels.flatten(), minlength=MAX_STEPS)
    total = noised.levels.numel()
    for level, count in enumerate(counts.tolist()):
        expected = (1 - share) / MAX_STEPS + share * (level == 0)
        tolerance = FIVE_SIGMA * (expected * (1 - expected) / total) ** 0.5
        assert count / total == pytest.approx(expected, abs=tolerance), f"level {level}"


def test_the_clean_prefix_is_longer_than_half_and_not_scored():
    latents, noised = draw_noised("diffusion_forcing", rows=2000, frames=9, shortcut_rows=500)
    length = (~noised.scored).sum(1)
    prefixed = length > 0
    assert torch.equal(noised.scored, torch.arange(9) >= length[:, None])
    assert set(length[prefixed].tolist()) == {5, 6, 7, 8}
    assert prefixed.float().mean().item() == pytest.approx(0.5, abs=FIVE_SIGMA * (0.25 / 2000) ** 0.5)
    assert (noised.levels[~noised.scored] == MAX_STEPS).all()
    assert not noised.strides[~noised.scored].any()
    assert torch.equal(noised.latents[~noised.scored], latents[~noised.scored])
    assert noised.remembered is None


def test_a_prefix_probability_of_zero_is_plain_diffusion_forcing():
    _, noised = draw_noised("diffusion_forcing", rows=500, prefix_probability=0.0)
    clean = noised.levels == MAX_STEPS
    assert torch.equal(noised.scored, ~clean)
    assert clean.float().mean().item() == pytest.approx(1 / (MAX_STEPS + 1), abs=0.02)
    assert (clean[:, 1:] & ~clean[:, :-1]).any(), "they lie anywhere, not in a prefix"


def test_every_level_of_noise_is_learned_in_all_ways_to_train(scripted):
    for settings in ({"mode": "clean_past"}, {"mode": "diffusion_forcing", "prefix_probability": 0.0}):
        model, latents, actions = scripted(lambda clean, noised, levels: None, batch=64)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        denoising_loss(model, latents, actions, DiffusionConfig(**settings), generator())[0].backward()
        assert model.condition.noise_level.weight.grad.any(1).all(), settings


def test_clean_past_scores_every_frame_and_remembers_nearly_clean_ones():
    latents, noised = draw_noised("clean_past", latents=torch.zeros(64, 20, 1, 40, 40), context_noise=0.2)
    assert noised.scored.all()
    share = noised.remembered.std((2, 3, 4))
    assert share.max() < 0.2 * 1.1
    assert share.mean().item() == pytest.approx(0.1, abs=0.01)
    latents, noised = draw_noised("clean_past", context_noise=0.0)
    assert torch.equal(noised.remembered, latents)


def test_noise_is_mixed_in_by_the_level():
    _, noised = draw_noised("clean_past", latents=torch.full((8, 8, 4, 64, 64), 3.0), shortcut_rows=0)
    tau = noised.levels / MAX_STEPS
    torch.testing.assert_close(noised.latents.mean((2, 3, 4)), 3 * tau, rtol=0, atol=0.05)
    torch.testing.assert_close(noised.latents.std((2, 3, 4)), 1 - tau, rtol=0, atol=0.05)


@pytest.mark.parametrize("mode", ["clean_past", "diffusion_forcing"])
def test_the_generator_decides_everything(mode):
    latents = torch.randn(4, 6, 1, 2, 2)
    draws = [add_noise(latents, DiffusionConfig(mode=mode), MAX_STEPS, 2, generator(s)) for s in (3, 3, 4)]
    assert torch.equal(draws[0].latents, draws[1].latents)
    assert torch.equal(draws[0].levels, draws[1].levels)
    assert not torch.equal(draws[0].latents, draws[2].latents)


@pytest.mark.parametrize(("level", "stride"), [(0, 3), (0, 1), (4, 2), (2, 1), (6, 1)])
def test_a_full_stride_to_the_target_lands_where_two_half_strides_land(level, stride):
    """By hand, for the predictor f(z, level, stride) = 0.3 z + 0.7 - 0.1 level + 0.2 stride."""

    def predict(z, levels, strides):
        return 0.3 * z + 0.7 - 0.1 * levels[..., None, None, None] + 0.2 * strides[..., None, None, None]

    z, tau, half = 1.7, level / MAX_STEPS, 2**stride / (2 * MAX_STEPS)
    first = 0.3 * z + 0.7 - 0.1 * level + 0.2 * (stride - 1)
    midway = z + half * (first - z) / (1 - tau)
    second = 0.3 * midway + 0.7 - 0.1 * (level + 2 ** (stride - 1)) + 0.2 * (stride - 1)
    landing = midway + half * (second - midway) / (1 - tau - half)
    target = shortcut_target(
        predict, torch.full((1, 1, 1, 1, 1), z), torch.tensor([[level]]), torch.tensor([[stride]]), MAX_STEPS
    ).item()
    assert z + 2 * half * (target - z) / (1 - tau) == pytest.approx(landing, abs=1e-5)


def test_one_step_to_the_target_is_the_two_step_sampler():
    z = torch.randn(3, 1, 2, 4, 4)

    def predict(z, levels, strides):
        return torch.sin(z) + 0.1 * levels[..., None, None, None] + strides[..., None, None, None]

    def denoise(z, level, stride):
        return torch.sin(z) + 0.1 * level + stride

    start = torch.zeros(3, 1, dtype=torch.int64)
    target = shortcut_target(predict, z, start, start + 3, MAX_STEPS)
    torch.testing.assert_close(target[:, 0], sample(denoise, z[:, 0], 2, MAX_STEPS))


@pytest.mark.parametrize("mode", ["clean_past", "diffusion_forcing"])
@pytest.mark.parametrize("shortcut_fraction", [0.0, 0.5, 1.0])
def test_an_oracle_has_no_loss(mode, shortcut_fraction, scripted):
    """Who knows the clean latents moves straight at them: two half strides land where one whole does."""
    model, latents, actions = scripted(lambda clean, noised, levels: clean)
    config = DiffusionConfig(mode=mode, shortcut_fraction=shortcut_fraction)
    loss, _, _ = denoising_loss(model, latents, actions, config, generator())
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert len(model.calls) == (1 if shortcut_fraction == 0 else 3)


@pytest.mark.parametrize("mode", ["clean_past", "diffusion_forcing"])
def test_the_loss_is_the_weighted_mean_square_error(mode, scripted):
    """An error of 2 at level 0 only: weights there are 1 in one step and 0.1 in eight, elsewhere 0.9 tau + 0.1."""
    model, latents, actions = scripted(lambda clean, noised, levels: clean + 2.0 * (levels == 0)[..., None, None, None])
    config = DiffusionConfig(mode=mode, shortcut_fraction=0.0)
    loss, _, _ = denoising_loss(model, latents, actions, config, generator())
    noised = add_noise(latents, config, MAX_STEPS, 0, generator())
    total = wrong = 0.0
    for level, stride in zip(noised.levels.flatten().tolist(), noised.strides.flatten().tolist(), strict=True):
        weight = 1.0 if stride == 3 else 0.9 * level / MAX_STEPS + 0.1
        total += weight * (level < MAX_STEPS)
        wrong += weight * 4 * (level == 0)
    assert loss.item() == pytest.approx(wrong / total, rel=1e-5)


def test_frames_of_the_prefix_do_not_count(scripted):
    model, latents, actions = scripted(
        lambda clean, noised, levels: clean + 7.0 * (levels == MAX_STEPS)[..., None, None, None]
    )
    config = DiffusionConfig(mode="diffusion_forcing", prefix_probability=1.0)
    loss, _, clean = denoising_loss(model, latents, actions, config, generator())
    assert loss.item() == pytest.approx(0, abs=1e-9)
    levels = model.calls[-1][2][:, 0]
    assert torch.equal(clean, levels == MAX_STEPS)
    assert clean.any()


def test_shortcut_rows_have_the_target_of_two_half_strides_without_gradient(scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: None)
    torch.nn.init.normal_(model.final_modulation.weight, std=0.1)
    config = DiffusionConfig(shortcut_fraction=1.0, context_noise=0.0)
    loss, _, _ = denoising_loss(model, latents, actions, config, generator())
    first, second, final = model.calls
    (_, strides), (_, levels) = final[3].unbind(1), final[2].unbind(1)
    assert torch.equal(first[3][:, 1], strides - 1)
    assert torch.equal(first[2][:, 1], levels)
    assert torch.equal(second[2][:, 1], levels + (1 << (strides - 1)))
    assert not first[4].requires_grad
    assert final[4].requires_grad
    predictions = iter([first[4], second[4]])
    target = shortcut_target(lambda *_: next(predictions), final[0][:, 1], levels, strides, MAX_STEPS)
    error = (final[4] - target).square().mean((2, 3, 4))
    weight = 0.9 * levels / MAX_STEPS + 0.1
    assert loss.item() == pytest.approx(((weight * error).sum() / weight.sum()).item(), rel=1e-4)


def test_the_share_of_rows_with_few_step_targets_is_kept_on_average(scripted):
    """Two rows and a share of a quarter: one row half of the time, none otherwise."""
    model, latents, actions = scripted(lambda clean, noised, levels: clean, batch=2, frames=2)
    config, noise = DiffusionConfig(shortcut_fraction=0.25), generator()
    passes = []
    for _ in range(200):
        model.calls.clear()
        denoising_loss(model, latents, actions, config, noise)
        passes.append(len(model.calls))
    assert set(passes) == {1, 3}
    assert passes.count(3) / 200 == pytest.approx(0.5, abs=FIVE_SIGMA * (0.25 / 200) ** 0.5)


def test_clean_past_predicts_a_frame_from_frames_before_it_only(scripted):
    frame = 4
    model, latents, actions = scripted(lambda clean, noised, levels: None, batch=2)
    for name, parameter in model.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    latents.requires_grad_()
    config = DiffusionConfig(shortcut_fraction=0.0, pure_noise_probability=0.0)
    denoising_loss(model, latents, actions, config, generator())
    streams, _, _, _, predicted = model.calls[0]
    to_stream, to_latents = torch.autograd.grad(predicted[:, frame].square().sum(), (streams, latents))
    reached = to_stream.abs().sum((0, 3, 4, 5)) > 0
    assert reached[0].tolist() == [t < frame for t in range(10)]
    assert reached[1].tolist() == [t == frame for t in range(10)]
    assert not to_latents[:, frame + 1 :].any()


@pytest.mark.parametrize("mode", ["clean_past", "diffusion_forcing"])
def test_the_first_action_of_a_window_is_ignored(mode, scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: None)
    for name, parameter in model.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    losses = []
    for t, action in ((0, 0), (0, 5), (1, 0), (1, 5)):
        changed = actions.clone()
        changed[:, t] = action
        losses.append(denoising_loss(model, latents, changed, DiffusionConfig(mode=mode), generator())[0].item())
    assert losses[0] == losses[1]
    assert losses[2] != losses[3]
    assert (model.calls[-1][1][:, 0] == -1).all()


def test_a_network_of_one_step_has_no_shortcuts(scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: clean, batch=4, frames=5, max_denoising_steps=1)
    loss, _, _ = denoising_loss(model, latents, actions, DiffusionConfig(), generator())
    assert loss.item() == 0
    assert not model.calls[0][2][:, 1].any()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_windows_have_a_finite_loss(frames, scripted):
    model, latents, actions = scripted(lambda clean, noised, levels: None, frames=frames)
    config = DiffusionConfig(mode="diffusion_forcing", prefix_probability=1.0)
    loss, _, _ = denoising_loss(model, latents, actions, config, generator())
    assert loss.isfinite()
