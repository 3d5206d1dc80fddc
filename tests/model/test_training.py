"""Schedules in closed form, which frames the heads learn on, and who optimises what."""

import math

import pytest
import torch

from model.diffusion import DiffusionConfig, denoising_loss
from model.lssvwm import LSSVWM
from model.training import (
    Windows,
    context_stage,
    learning_rate_factor,
    make_optimizers,
    moving_average,
    set_learning_rate,
    world_model_loss,
)

CLEAN_PAST = DiffusionConfig()
FORCING = DiffusionConfig(mode="diffusion_forcing", prefix_probability=1.0)


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def windows(layer_mixes, make_episode):
    latents, actions = make_episode(layer_mixes["micro"], 4, 8)
    rewards, terminated = torch.zeros(4, 8), torch.zeros(4, 8)
    rewards[0, 3] = rewards[2, 7] = 1
    terminated[1, 7] = 1
    return Windows(latents, actions, rewards, terminated)


@pytest.mark.parametrize(
    ("step", "done", "expected"),
    [
        (0, 0.0, 0.01),
        (49, 0.0, 0.5),
        (99, 0.0, 1.0),
        (1000, 0.6, 1.0),
        (1000, 0.7, 0.5 * (1 + math.cos(math.pi / 4))),
        (1000, 0.8, 0.5),
        (1000, 1.0, 0.0),
        (1000, 1.2, 0.0),
        (49, 0.8, 0.25),
    ],
)
def test_the_rate_warms_up_stays_and_falls(step, done, expected):
    """100 steps of warm-up, and a cooldown over the last 0.4 of the time."""
    assert learning_rate_factor(step, done, 100, 0.4) == pytest.approx(expected, abs=1e-12)


def test_without_cooldown_the_rate_stays():
    assert learning_rate_factor(1000, 1.0, 100, 0.0) == 1.0


def test_short_windows_come_first():
    stages = [(0.5, 8), (0.8, 32), (1.0, 128)]
    assert [context_stage(done, stages) for done in (0.0, 0.49, 0.5, 0.79, 0.8, 1.0, 1.3)] == [
        8, 8, 32, 32, 128, 128, 128,
    ]  # fmt: skip


def test_the_total_is_the_weighted_sum_of_its_parts(make_dynamics, windows):
    model = make_dynamics()
    losses = world_model_loss(model, windows, CLEAN_PAST, generator(), head_weight=0.3)
    denoising, _, _ = denoising_loss(model, windows.latents, windows.actions, CLEAN_PAST, generator())
    assert losses.denoising.item() == denoising.item()
    expected = losses.denoising + 0.3 * (losses.reward + losses.termination)
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("config", [CLEAN_PAST, FORCING], ids=lambda c: c.mode)
def test_heads_learn_on_remembered_clean_frames_but_the_first(config, make_dynamics, windows):
    model = make_dynamics()
    _, _, clean = denoising_loss(model, windows.latents, windows.actions, config, generator())
    before = world_model_loss(model, windows, config, generator())
    for t in range(8):
        rewards, terminated = windows.rewards.clone(), windows.terminated.clone()
        rewards[3, t], terminated[3, t] = 1 - rewards[3, t], 1 - terminated[3, t]
        changed = Windows(windows.latents, windows.actions, rewards, terminated)
        after = world_model_loss(model, changed, config, generator())
        counts = t > 0 and bool(clean[3, t])
        assert (after.reward.item() != before.reward.item()) == counts, f"frame {t}"
        assert (after.termination.item() != before.termination.item()) == counts, f"frame {t}"
        assert after.denoising.item() == before.denoising.item()


def test_events_weigh_more(make_dynamics, windows):
    """With logits of zero every frame is as surprising: log 2, whatever the weights; tilted, the mean shifts."""
    model = make_dynamics()
    for head in (model.heads.reward, model.heads.termination):
        torch.nn.init.zeros_(head[-1].weight)
        torch.nn.init.zeros_(head[-1].bias)
    losses = world_model_loss(model, windows, CLEAN_PAST, generator())
    assert losses.reward.item() == pytest.approx(math.log(2), rel=1e-5)
    with torch.no_grad():
        model.heads.reward[-1].bias.copy_(torch.tensor([2.0, 0.0]))
        model.heads.termination[-1].bias.fill_(-2.0)
    usual, rare = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    losses = world_model_loss(model, windows, CLEAN_PAST, generator())
    assert losses.reward.item() == pytest.approx((26 * usual + 20 * rare) / 46, rel=1e-5)
    assert losses.termination.item() == pytest.approx((27 * usual + 10 * rare) / 37, rel=1e-5)


@pytest.mark.parametrize("use_muon", [False, True])
def test_every_parameter_has_exactly_one_optimizer(use_muon, layer_mixes):
    model = LSSVWM(layer_mixes["micro"])
    optimizers = make_optimizers(model, 1e-3, use_muon)
    held = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters()}
    if use_muon:
        adamw, muon = optimizers
        matrices = {id(p) for p in muon.param_groups[0]["params"]}
        names = {name for name, p in model.named_parameters() if id(p) in matrices}
        assert {"backbone.layers.0.scan.project.weight", "backbone.layers.1.mlp.0.weight"} <= names
        assert not any(word in name for name in names for word in ("embed", "heads", "action", "place"))
        assert isinstance(adamw, torch.optim.AdamW)
    else:
        assert len(optimizers) == 1


def test_the_rate_is_set_everywhere(layer_mixes):
    optimizers = make_optimizers(LSSVWM(layer_mixes["micro"]), 1e-3, True)
    set_learning_rate(optimizers, 0.25)
    assert {group["lr"] for o in optimizers for group in o.param_groups} == {0.25}


def test_the_moving_average_in_closed_form():
    """Weights 0, 1, 1, 1 under decay 0.9: the average starts at the first, then keeps 0.9 of itself."""
    module = torch.nn.Linear(1, 1, bias=False)
    average = moving_average(module, decay=0.9)
    for i, value in enumerate([0.0, 1.0, 1.0, 1.0]):
        torch.nn.init.constant_(module.weight, value)
        average.update_parameters(module)
        assert average.module.weight.item() == pytest.approx(1 - 0.9**i)


@pytest.mark.parametrize(("mode", "use_muon"), [("clean_past", True), ("diffusion_forcing", False)])
def test_a_few_steps_on_one_batch_lower_the_loss(mode, use_muon, layer_mixes, windows):
    model = LSSVWM(layer_mixes["micro"])
    optimizers = make_optimizers(model, 3e-3, use_muon)
    losses = []
    for _ in range(8):
        loss = world_model_loss(model, windows, DiffusionConfig(mode=mode), generator()).total
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
