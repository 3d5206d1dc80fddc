"""Networks of continuous actions: one action steers its frame and those after it, by any route, in any unit."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from model.actions import check_actions, no_actions, random_actions, without_first
from model.conditioning import FrameConditioning
from model.config import PRESETS, LSSVWMConfig, WorldModelConfig
from model.data import EncodedEpisode, LatentStore, append_episodes
from model.diffusion import DiffusionConfig
from model.fast_path import FastPath, has_fast_path
from model.own_dreams import Dreaming
from model.sliding_context import imagine_in_context
from model.start_weights import weights_to_transfer
from model.training import Windows, world_model_loss
from model.world_model import WorldModel
from tests.model.conftest import step_through, world_of

BOX = {"num_actions": 1, "action_size": 2, "action_low": (-3.0, 0.0), "action_high": (1.0, 400.0)}
MICRO = replace(PRESETS["micro"].dynamics, **BOX)
ROUNDING = 1e-4


@pytest.fixture
def model(make_dynamics):
    return make_dynamics("micro", **BOX)


def episode(config, batch, frames):
    """Latents, and actions of which the first led nowhere."""
    latents = torch.randn(batch, frames, config.latent_channels, config.latent_size, config.latent_size)
    return latents, without_first(random_actions(config, batch, frames, torch.Generator().manual_seed(1)))


def test_bounds_become_minus_one_and_one_and_the_start_has_a_vector_of_its_own():
    condition = FrameConditioning(MICRO)
    actions = torch.tensor([[[-3.0, 0.0], [1.0, 400.0], [-1.0, 100.0], [torch.nan, torch.nan]]])
    scaled = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.0, -0.5]]])
    torch.testing.assert_close(condition.embedded(actions)[:, :3], condition.action(scaled))
    assert torch.equal(condition.embedded(actions)[0, 3], condition.start)


def test_what_cannot_change_is_the_middle():
    condition = FrameConditioning(replace(MICRO, action_low=(2.0, 0.0), action_high=(2.0, 1.0)))
    embedded = condition.embedded(torch.tensor([[[2.0, 1.0]]]))
    torch.testing.assert_close(embedded, condition.action(torch.tensor([[[0.0, 1.0]]])))


@torch.no_grad()
def test_units_do_not_matter(make_dynamics):
    """The same weights, asked in other units, dream the same."""
    model = make_dynamics("micro", **BOX)
    latents, actions = episode(model.config, 2, 5)
    seen, _ = model.observe(model.initial_memory(2), latents, actions)
    low, high = (torch.tensor(v) for v in (model.config.action_low, model.config.action_high))
    unit = replace(model.config, action_low=(0.0, 0.0), action_high=(1.0, 1.0))
    other = type(model)(unit).eval()
    other.load_state_dict(model.state_dict())
    again, _ = other.observe(other.initial_memory(2), latents, (actions - low) / (high - low))
    torch.testing.assert_close(again, seen, rtol=0, atol=ROUNDING)


@torch.no_grad()
def test_step_by_step_is_the_whole_sequence(model):
    latents, actions = episode(model.config, 2, 20)
    whole, _ = model.observe(model.initial_memory(2), latents, actions)
    stepped, _ = step_through(model, latents, actions)
    torch.testing.assert_close(stepped, whole, rtol=0, atol=ROUNDING)


@torch.no_grad()
def test_an_action_changes_its_frame_and_never_those_before(model):
    latents, actions = episode(model.config, 2, 8)
    other = actions.clone()
    other[:, 5, 0] = 0.25
    (one, _), (two, _) = (model.observe(model.initial_memory(2), latents, a) for a in (actions, other))
    assert torch.equal(one[:, :5], two[:, :5])
    assert ((one - two)[:, 5:].abs().amax((0, 2)) > 1e-4).all()


@torch.no_grad()
def test_each_number_of_an_action_steers_the_dream(model):
    latents, actions = episode(model.config, 1, 4)
    _, memory = model.observe(model.initial_memory(1), latents, actions)
    noise = torch.randn(1, *latents.shape[2:])
    actions = torch.tensor([[-1.0, 200.0], [-0.9, 200.0], [-1.0, 210.0], [torch.nan, torch.nan]])
    shown = [model.imagine(memory, action[None], noise, 2)[0].latent for action in actions]
    assert all((shown[0] - other).abs().max() > 1e-4 for other in shown[1:])


@pytest.mark.parametrize("mode", ["clean_past", "diffusion_forcing"])
@pytest.mark.parametrize("dreaming", [None, Dreaming(1.0, passes=2, frames=3, steps=2)])
def test_every_weight_of_the_mlp_and_of_the_start_learns(mode, dreaming, make_dynamics):
    model = make_dynamics("micro", **BOX).train()
    latents, actions = episode(model.config, 4, 12)
    batch = Windows(latents, actions.nan_to_num(0.5), torch.zeros(4, 12), torch.zeros(4, 12))
    config = DiffusionConfig(mode=mode, dreaming=dreaming)
    losses = world_model_loss(model, batch, config, torch.Generator().manual_seed(0))
    losses.total.backward()
    condition = model.condition
    for weight in (*condition.action.parameters(), condition.start):
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().sum() > 0


@torch.no_grad()
def test_the_first_action_of_a_window_is_ignored_in_training(model):
    latents, actions = episode(model.config, 4, 6)
    found = []
    for first in (0.0, 1.0):
        actions[:, 0] = first
        batch = Windows(latents, actions, torch.zeros(4, 6), torch.zeros(4, 6))
        found.append(world_model_loss(model, batch, DiffusionConfig(), torch.Generator().manual_seed(0)).total)
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_the_fast_path_dreams_as_the_network_does(dtype):
    world = world_of(replace(MICRO, reward_values=(0.0, 1.0)))
    assert has_fast_path(world.config.dynamics)
    path, plain, worst = FastPath(world, dtype), world.dynamics.initial_memory(3), 0.0
    fast = path.lay_out(plain)
    for t in range(9):  # once round the ring
        actions = random_actions(MICRO, 3, 1, torch.Generator().manual_seed(t))[:, 0]
        actions[t % 3] = torch.nan  # among others, a start
        noise = torch.randn(3, 4, 8, 8)
        if t % 3 == 2:
            features, plain = world.dynamics.observe(plain, noise[:, None], actions[:, None])
            ours, fast = path.observe(fast, noise, actions)
            pairs = [(ours, features[:, 0])]
        else:
            theirs, plain = world.dynamics.imagine(plain, actions, noise, (1, 2, 4)[t % 3])
            imagined, fast = path.imagine(fast, actions, noise, (1, 2, 4)[t % 3])
            pairs = [(getattr(imagined, name), getattr(theirs, name)) for name in ("latent", "features")]
        worst = max(worst, *(float((a - b).square().mean().sqrt()) for a, b in pairs))
        if dtype == torch.bfloat16:  # from the same memory: rounding of one step
            fast = path.lay_out(plain)
    assert worst < (ROUNDING if dtype == torch.float32 else 0.06)


@torch.inference_mode()
def test_what_the_fast_path_makes_on_the_fly_is_what_a_table_holds():
    """Of the same weights: the MLP in place of an embedding makes the only difference."""
    world = world_of(replace(MICRO, reward_values=(0.0, 1.0)))
    dynamics, path = world.dynamics, FastPath(world)
    actions = random_actions(MICRO, 5, 1, torch.Generator().manual_seed(0))
    led = path._modulator.led(actions[:, 0])
    tokens = torch.randn(5, 1, 1, 3, MICRO.width)
    for level, stride in [(0, 3), (4, 2), (7, 0), (8, 0)]:
        levels, strides = (torch.full((5, 1, 1), v) for v in (level, stride))
        conditioning = dynamics.condition(actions, levels, strides)
        made = path._modulator.layers(level, stride, led)
        for i, layer in enumerate(dynamics.backbone.layers):
            for branch, name in enumerate(("scan", "attention", "mlp")):
                shift, scale, gate = made[:, i, 3 * branch : 3 * branch + 3].unbind(1)
                modulated, expected = getattr(layer, f"{name}_modulation")(tokens, conditioning)
                ours = torch.addcmul(shift, torch.nn.functional.layer_norm(tokens[:, 0, 0], (MICRO.width,)), scale)
                torch.testing.assert_close(ours, modulated[:, 0, 0], rtol=0, atol=1e-5)
                torch.testing.assert_close(gate, expected[:, 0, 0], rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_model_that_sees_later_frames_dreams_under_them_too(make_dynamics):
    changes = {"scan": False, "attention": "bidirectional", "attention_window": 5}
    model = make_dynamics("micro", **BOX, **changes)
    latents, actions = episode(model.config, 2, 4)
    noise, seen = latents[:, 3], []
    for first, last in ((0.0, 1.0), (0.5, 1.0), (0.0, 0.0)):
        led = actions.clone()
        led[:, 0], led[:, 3] = first, last
        seen.append(imagine_in_context(model, latents[:, :3], led, noise, 1))
    assert torch.equal(seen[0], seen[1])
    assert (seen[0] - seen[2]).abs().max() > 1e-4


def test_a_checkpoint_comes_back_with_its_bounds(tmp_path):
    world = WorldModel(WorldModelConfig(PRESETS["micro"].tokenizer, MICRO)).eval()
    world.save_pretrained(tmp_path)
    again = WorldModel.from_pretrained(tmp_path)
    assert again.config.dynamics == MICRO
    actions = random_actions(MICRO, 1, 3, torch.Generator().manual_seed(0))
    assert torch.equal(again.dynamics.condition.embedded(actions), world.dynamics.condition.embedded(actions))


def test_an_older_config_has_discrete_actions():
    values = PRESETS["micro"].to_dict()
    for name in ("action_size", "action_low", "action_high"):
        del values["dynamics"][name]
    assert WorldModelConfig.from_dict(json.loads(json.dumps(values))) == PRESETS["micro"]


@pytest.mark.parametrize("one_way", [True, False])
def test_what_was_learned_under_other_actions_is_carried_over(one_way, tmp_path):
    discrete, continuous = (
        WorldModel(WorldModelConfig(PRESETS["micro"].tokenizer, d)) for d in (PRESETS["micro"].dynamics, MICRO)
    )
    source, world = (discrete, continuous) if one_way else (continuous, discrete)
    source.save_pretrained(tmp_path)
    found = weights_to_transfer(tmp_path, world)
    world.load_state_dict(found)
    assert torch.equal(found["dynamics.embed.weight"], source.state_dict()["dynamics.embed.weight"])


def test_vectors_are_stored_and_cut_into_windows(tmp_path):
    still, latents = np.zeros(9, np.float32), np.zeros((9, 2, 4, 4), np.float16)
    actions = np.random.default_rng(0).random((9, 2), np.float32)
    append_episodes(tmp_path, iter([EncodedEpisode("a", latents, actions, still, still)]))
    window = LatentStore(tmp_path).stack([(0, 3), (0, 5)], 4)
    assert np.array_equal(window.actions, np.stack([actions[3:7], actions[5:9]]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_actions": 6}, "action_size = 2 given with num_actions = 6"),
        ({"pose_size": 4}, "pose_size = 4"),
        ({"action_size": True}, "action_size = True given"),
        ({"action_size": -1}, "action_size = -1 given"),
        ({"action_size": 3}, "action_size = 3 numbers each"),
        ({"action_low": (0.0,)}, "action_low = "),
        ({"action_high": (1.0, float("nan"))}, "action_high = "),
        ({"action_high": (1.0, float("inf"))}, "action_high = "),
        ({"action_high": (1.0, 2e30)}, "none beyond 1e"),
        ({"action_high": (-4.0, 400.0)}, "none lower in action_high"),
    ],
)
def test_configs_that_are_none(changes, words):
    with pytest.raises(ValueError, match=words):
        LSSVWMConfig(**(asdict(MICRO) | changes))
    with pytest.raises(ValueError, match="action_low"):
        LSSVWMConfig(action_low=(0.0,))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ([1.1, 0.0], r"the action \[1\.1"),
        ([0.0, -1e-3], "Fix: clip actions"),
        ([0.0, float("inf")], "the action"),
        ([0.0, float("nan")], "NaN in all where no action led"),
        ([0.0, 0.0, 0.0], r"expected floats \[b t 2\]"),
        ([0, 0], r"expected floats \[b t 2\]"),
    ],
)
def test_actions_of_another_world_are_refused(model, action, words):
    actions = torch.tensor([[action]])
    with pytest.raises(ValueError, match=words):
        check_actions(actions, model.config)
    # whole numbers with three axes are refused by their type before that, where types are checked
    with pytest.raises((ValueError, TypeError), match=words if actions.is_floating_point() else None):
        model.observe(model.initial_memory(1), torch.zeros(1, 1, 4, 8, 8), actions)


def test_a_model_of_discrete_actions_refuses_vectors(micro_dynamics):
    for actions in (torch.zeros(1, 1, 2), torch.zeros(1, 1)):
        with pytest.raises(ValueError, match=r"expected whole numbers \[b t\]"):
            check_actions(actions, micro_dynamics.config)


def test_no_actions_are_actions():
    for config in (MICRO, PRESETS["micro"].dynamics):
        check_actions(no_actions(config, 2, 3), config)
        check_actions(random_actions(config, 2, 3, torch.Generator().manual_seed(0)), config)
