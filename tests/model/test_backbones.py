"""The systems LSSVWM is compared with: of one size, right as recurrences, and what they keep is as it should be."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from model.backbones import BackboneName, count_parameters, with_backbone
from model.config import PRESETS
from model.lssvwm import LSSVWM
from model.two_streams import run_streams
from tests.model.conftest import enliven, step_through

NAMES = get_args(BackboneName)
STEPPABLE = [name for name in NAMES if name != "dfot"]
GROWING = "causal"


def build(name, **changes):
    torch.manual_seed(3)
    micro = replace(PRESETS["micro"].dynamics, attention_window=2, **changes)
    return enliven(LSSVWM(with_backbone(micro, name)), strength=0.3)


@pytest.mark.parametrize("preset", ["small", "cpu", "gpu", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_all_are_of_one_size(name, preset):
    wanted = count_parameters(PRESETS[preset].dynamics)
    config = with_backbone(PRESETS[preset].dynamics, name)
    has = count_parameters(config)
    assert has == pytest.approx(wanted, rel=0.035)


def test_each_is_what_it_is_called():
    base = PRESETS["gpu"].dynamics
    kinds = {name: with_backbone(base, name) for name in NAMES}
    assert kinds["lssvwm"] == base
    assert {name for name, c in kinds.items() if c.scan} == {"lssvwm", "mamba2", "mamba2_local", "lssvwm_block1"}
    assert {name for name, c in kinds.items() if c.attention == "none"} == {"mamba2"}
    assert {kinds[name].block_sizes for name in ("mamba2", "mamba2_local")} == {((8, 8),)}
    assert kinds["lssvwm_block1"].block_sizes == ((1, 1),)
    assert kinds["causal_window"].attention_window == 3 * base.attention_window
    assert kinds["dfot"].attention_window == 25
    assert (kinds["videossm"].attention, kinds["videossm"].sink_frames) == ("hybrid", 1)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"backbone = 'mamba3' given, expected one of \['lssvwm', "):
        with_backbone(PRESETS["micro"].dynamics, "mamba3")


@pytest.mark.parametrize("name", STEPPABLE)
@torch.no_grad()
def test_frame_by_frame_is_the_whole_sequence(name, make_episode):
    model = build(name)
    latents, actions = make_episode(model.config, 2, 8)
    whole, after = model.observe(model.initial_memory(2), latents, actions)
    stepped, memory = step_through(model, latents, actions)
    torch.testing.assert_close(stepped, whole, rtol=0, atol=1e-4)
    for (key, ours), theirs in zip(memory.to_dict().items(), after.to_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", STEPPABLE)
@torch.no_grad()
def test_the_future_never_changes_the_past(name, make_episode):
    model = build(name)
    latents, actions = make_episode(model.config, 2, 9)
    before, _ = model.observe(model.initial_memory(2), latents, actions)
    latents[:, 6:] = torch.randn_like(latents[:, 6:])
    after, _ = model.observe(model.initial_memory(2), latents, actions)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize("name", STEPPABLE)
@torch.no_grad()
def test_training_predicts_what_stepping_predicts(name, make_episode):
    """The read-only stream, all frames at once, is `imagine`'s one-step sampler after the frames before."""
    model = build(name)
    latents, actions = make_episode(model.config, 2, 7)
    noise = torch.randn_like(latents)
    level, stride = torch.zeros_like(actions), torch.full_like(actions, 3)
    at_once, _ = run_streams(model, latents, noise, actions, level, stride)
    memory = model.initial_memory(2)
    for t in range(7):
        stepped, _ = model.imagine(memory, actions[:, t], noise[:, t], 1)
        torch.testing.assert_close(stepped.latent, at_once[:, t], rtol=0, atol=1e-4)
        _, memory = model.observe(memory, latents[:, t : t + 1], actions[:, t : t + 1])


@pytest.mark.parametrize("name", STEPPABLE)
@torch.no_grad()
def test_only_full_attention_keeps_more_and_more(name, make_episode):
    model = build(name)
    latents, actions = make_episode(model.config, 1, 40)
    _, early = model.observe(model.initial_memory(1), latents[:, :10], actions[:, :10])
    _, late = model.observe(early, latents[:, 10:], actions[:, 10:])
    ring = 2 * 4 * model.config.layers * model.config.tokens * model.config.width
    assert late.nbytes - early.nbytes == (30 * ring if name == GROWING else 0)


@pytest.mark.parametrize("name", STEPPABLE)
@torch.no_grad()
def test_dreams_of_different_ages_share_a_batch(name, make_episode):
    """A dream that begins anew in a batch goes on as it would alone, and so do its neighbours."""
    model = build(name)
    latents, actions = make_episode(model.config, 2, 12)
    _, memory = model.observe(model.initial_memory(2), latents[:, :6], actions[:, :6])
    memory = memory.replace(torch.tensor([1]), model.initial_memory(1))
    together, memory = model.observe(memory, latents[:, 6:8], actions[:, 6:8])
    _, other = model.observe(model.initial_memory(1), latents[:1, :5], actions[:1, :5])
    memory = memory.replace(torch.tensor([0]), other)  # the oldest goes: rings that grow become shorter again
    later, memory = model.observe(memory, latents[:, 8:], actions[:, 8:])
    _, alone = model.observe(model.initial_memory(1), latents[:1, :6], actions[:1, :6])
    torch.testing.assert_close(
        together[:1], model.observe(alone, latents[:1, 6:8], actions[:1, 6:8])[0], rtol=0, atol=1e-4
    )
    younger, _ = model.observe(model.initial_memory(1), latents[1:, 6:], actions[1:, 6:])
    torch.testing.assert_close(torch.cat([together[1:], later[1:]], 1), younger, rtol=0, atol=1e-4)
    older, _ = model.observe(other, latents[:1, 8:], actions[:1, 8:])
    torch.testing.assert_close(later[:1], older, rtol=0, atol=1e-4)
    if name == GROWING:
        assert memory.keys[0].shape[1] == 9


@torch.no_grad()
def test_what_sees_later_frames_says_why_it_cannot_step(make_episode):
    model = build("dfot")
    latents, actions = make_episode(model.config, 1, 4)
    with pytest.raises(ValueError, match=r"bidirectional.*no environment can step"):
        model.observe(model.initial_memory(1), latents, actions)
    level = torch.full_like(actions, model.config.max_denoising_steps)
    before, _ = run_streams(model, None, latents, actions, level, torch.zeros_like(actions))
    latents[:, 3:] += 1
    after, _ = run_streams(model, None, latents, actions, level, torch.zeros_like(actions))
    assert not torch.allclose(before[:, 0], after[:, 0]), "the first frame sees the last"
