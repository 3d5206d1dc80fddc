"""The floor of a step: operations counted by hand, bytes of memory, and what the slower of the two takes."""

import pytest
import torch

from model.config import PRESETS
from model.world_model import WorldModel
from wmgym.floors import Rates, StepCost, counted_operations, measure_rates, step_cost


@pytest.fixture
def world():
    return WorldModel(PRESETS["micro"]).eval()


def test_the_slower_of_computing_and_moving_counts():
    assert StepCost(operations=100, bytes=10).floor(Rates(matmul=50.0, copy=100.0)) == 2.0
    assert StepCost(operations=100, bytes=1000).floor(Rates(matmul=50.0, copy=100.0)) == 10.0


def test_each_denoising_step_is_one_more_pass(world):
    costs = [step_cost(world, "features", k, torch.float32).operations for k in (1, 2, 4)]
    one_pass = costs[1] - costs[0]
    assert costs[2] - costs[1] == 2 * one_pass
    assert costs[0] > one_pass  # the pass that takes the frame in writes memory and is read by the heads


def test_only_pixels_are_decoded(world):
    features, latent, pixels = (
        step_cost(world, kind, 1, torch.float32).operations for kind in ("features", "latent", "pixels")
    )
    assert features == latent
    cells = world.config.tokenizer.latent_size**2
    counted, area = 0, cells
    for module in world.tokenizer.decoder:
        area = 4 * cells if isinstance(module, torch.nn.PixelShuffle) else area  # it goes on at twice the resolution
        weights = [m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
        counted += 2 * sum(weights) * area
    assert pixels - features == counted > 0


def test_memory_is_read_in_every_pass_and_the_scan_written_once(world):
    memory = world.dynamics.initial_memory(1)
    scan = sum(v.numel() for v in memory.scan)
    rings = sum(v.numel() for v in memory.keys + memory.values)
    assert step_cost(world, "features", 2, torch.float32).bytes == 4 * (3 * (scan + rings) + scan)
    assert step_cost(world, "features", 2, torch.bfloat16).bytes == 3 * (4 * scan + 2 * rings) + 4 * scan


def test_rates_are_those_of_this_machine():
    rates = measure_rates(torch.float32, seconds=0.01)
    assert rates.matmul > 1e8
    assert rates.copy > 1e7


@pytest.mark.parametrize("backward", [False, True])
def test_fused_attention_is_counted_as_the_products_it_stands_for(backward):
    """Two forward, and four backward: of queries, keys, values and weights."""
    q, k, v = (torch.randn(2, 3, n, 8, requires_grad=backward) for n in (5, 7, 7))
    with counted_operations() as counter:
        read = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=torch.zeros(5, 7))
        if backward:
            read.sum().backward()
    product = 2 * (2 * 3) * 5 * 7 * 8
    assert counter.get_total_flops() == product * (2 + 4 * backward)


def test_a_product_added_in_place_is_counted():
    total, first, second = torch.zeros(3, 4, 6), torch.ones(3, 4, 5), torch.ones(3, 5, 6)
    with counted_operations() as counter:
        total.baddbmm_(first, second)
    assert counter.get_total_flops() == 2 * 3 * 4 * 5 * 6


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("input_wanted", [False, True])
def test_gradients_of_convolutions_are_counted_as_what_each_weight_meets(transposed, groups, input_wanted):
    """Every weight is multiplied once a place, forward; and once for each of the gradients."""
    make = torch.nn.ConvTranspose1d if transposed else torch.nn.Conv1d
    layer, x = make(8, 8, 3, groups=groups, bias=False), torch.randn(2, 8, 10, requires_grad=input_wanted)
    with counted_operations() as counter:
        y = layer(x)
        forward = counter.get_total_flops()
        y.sum().backward()
    places = x.shape[-1] if transposed else y.shape[-1]
    assert forward == 2 * 2 * places * layer.weight.numel()
    assert counter.get_total_flops() == forward * (2 + input_wanted)
