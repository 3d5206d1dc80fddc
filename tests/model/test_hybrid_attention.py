"""VideoSSM's hybrid memory against its equations as plain loops in float64, over lists of the frames seen so far."""

from dataclasses import replace

import pytest
import torch

from model.config import LSSVWMConfig
from model.hybrid_attention import HybridAttention
from model.local_attention import plan_windows
from tests.model.hybrid_loops import HEADS, SPAN, TOKENS, WIDTH, E, as_ring, live

CONFIG = LSSVWMConfig(
    latent_size=4, width=WIDTH, block_sizes=((1, 1),), scan_head_channels=WIDTH, attention_heads=HEADS, scan=False,
    attention="hybrid", attention_span=SPAN,
)  # fmt: skip


def build(window, sinks):
    """A layer in which every parameter matters, and decays are strong enough to be seen within a few frames."""
    layer = HybridAttention(replace(CONFIG, attention_window=window, sink_frames=sinks))
    for name, parameter in layer.named_parameters():
        offset = {"log_rate": 0.3, "step_bias": -2.0}.get(name, 1.0 if name.endswith("norm.weight") else 0.0)
        torch.nn.init.normal_(parameter, offset, 0.5)
    return layer


def run(layer, tokens, memory, remember=True):
    ring, state, seen = memory
    plan = plan_windows(seen, *tokens.shape[1:3], TOKENS, layer.window, HEADS, SPAN, layer.sinks)
    out, ring, state = layer(tokens, ring, state, plan, seen, remember)
    return out, (ring, state, seen + tokens.shape[2])


def empty(layer, batch):
    ring = tuple(torch.zeros(batch, layer.sinks + layer.window, TOKENS, HEADS, size) for size in (E, E, 2))
    return ring, torch.zeros(batch, 1, HEADS, E, E), torch.zeros(batch, dtype=torch.int64)


def close(ours, theirs, scale=1.0):
    torch.testing.assert_close(ours.double(), theirs, rtol=scale * 1e-4, atol=scale * 2e-5)


def parameters(layer):
    return {name: v.detach().double().requires_grad_() for name, v in layer.named_parameters()}


def assert_is_the_end_of(memory, row, ends, layer):
    """A row of the layer's memory holds the sinks, the last frames and the state that the loops ended with."""
    _, first, recent, state = ends
    ring, state_ours, _ = memory
    close(state_ours[row, 0], state)
    filled = [*range(len(first)), *range(layer.sinks + layer.window - len(recent), layer.sinks + layer.window)]
    for ours, theirs in zip(ring, as_ring(first, recent, layer.window, layer.sinks), strict=True):
        close(ours[row, filled], theirs[filled])


SIZES = pytest.mark.parametrize(
    ("frames", "window", "sinks"),
    [(1, 2, 1), (2, 4, 2), (3, 3, 0), (4, 3, 1), (5, 1, 0), (6, 1, 1), (7, 2, 2), (8, 3, 2), (7, 5, 1)],
)


@SIZES
@pytest.mark.parametrize("streams", [1, 2])
@torch.no_grad()
def test_equals_the_equations_as_loops(frames, window, sinks, streams):
    layer = build(window, sinks)
    tokens = torch.randn(2, streams, frames, TOKENS, WIDTH)
    out, memory = run(layer, tokens, empty(layer, 2))
    for row in range(2):
        ends = live(parameters(layer), tokens[row].double(), window, sinks)
        close(out[row], ends[0])
        assert_is_the_end_of(memory, row, ends, layer)


@pytest.mark.parametrize(("window", "sinks"), [(2, 0), (2, 1), (3, 2)])
@torch.no_grad()
def test_calls_of_different_lengths_go_on_where_the_last_ended(window, sinks):
    layer = build(window, sinks)
    tokens = torch.randn(1, 2, 12, TOKENS, WIDTH)
    ends = live(parameters(layer), tokens[0].double(), window, sinks)
    memory, outs = empty(layer, 1), []
    for part in tokens.split([1, 1, 4, 1, 2, 3], dim=2):
        out, memory = run(layer, part, memory)
        outs.append(out)
    close(torch.cat(outs, 2)[0], ends[0])
    assert_is_the_end_of(memory, 0, ends, layer)


def draw_ages(layer, ages, frames, streams=2):
    """A life for each age, of so many frames before and `frames` more, and the memory that the loops have of it."""
    p = parameters(layer)
    lives = [torch.randn(streams, age + frames, TOKENS, WIDTH) for age in ages]
    earlier = [
        live(p, life[:, :age].double(), layer.window, layer.sinks) for life, age in zip(lives, ages, strict=True)
    ]
    rings = [as_ring(*before[1:3], layer.window, layer.sinks) for before in earlier]
    ring = tuple(torch.stack(rows).float().detach() for rows in zip(*rings, strict=True))
    state = torch.stack([before[3][None] for before in earlier]).float().detach()
    return lives, (ring, state, torch.tensor(ages))


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize(("window", "sinks"), [(3, 0), (2, 1), (3, 2)])
@torch.no_grad()
def test_dreams_of_different_ages_in_one_batch_are_each_as_alone(window, sinks, frames):
    """The loops make their memories; what stands in empty places of the rings must not count."""
    layer, ages = build(window, sinks), [0, 1, 2, 4, 6]
    lives, memory = draw_ages(layer, ages, frames)
    out, after = run(layer, torch.stack([life[:, -frames:] for life in lives]), memory)
    for row, life in enumerate(lives):
        ends = live(parameters(layer), life.double(), window, sinks)
        close(out[row], ends[0][:, -frames:])
        assert_is_the_end_of(after, row, ends, layer)


@pytest.mark.parametrize("frames", [1, 4])
@torch.no_grad()
def test_reading_alone_leaves_the_memory_and_gives_the_same(frames):
    layer = build(2, 1)
    lives, memory = draw_ages(layer, [0, 2, 6], frames)
    copies = [v.clone() for v in (*memory[0], memory[1])]
    tokens = torch.stack([life[:, -frames:] for life in lives])
    remembered, _ = run(layer, tokens, memory)
    out, (ring, state, _) = run(layer, tokens, memory, remember=False)
    torch.testing.assert_close(out, remembered, rtol=0, atol=1e-6)
    assert all(ours is given for ours, given in zip((*ring, state), (*memory[0], memory[1]), strict=True))
    assert all(torch.equal(v, copy) for v, copy in zip((*memory[0], memory[1]), copies, strict=True))


@torch.no_grad()
def test_the_second_stream_leaves_no_trace():
    layer = build(2, 1)
    tokens = torch.randn(2, 2, 6, TOKENS, WIDTH)
    both, after = run(layer, tokens, empty(layer, 2))
    alone, expected = run(layer, tokens[:, :1], empty(layer, 2))
    torch.testing.assert_close(both[:, :1], alone, rtol=0, atol=1e-6)
    for ours, theirs in zip((*after[0], after[1]), (*expected[0], expected[1]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("window", "sinks"), [(2, 0), (2, 1)])
def test_every_gradient_is_that_of_the_loops(window, sinks):
    layer, tokens = build(window, sinks), torch.randn(1, 2, 6, TOKENS, WIDTH, requires_grad=True)
    weighting = torch.randn(2, 6, TOKENS, WIDTH)
    out, _ = run(layer, tokens, empty(layer, 1), remember=False)
    ours = torch.autograd.grad((out[0] * weighting).sum(), [*layer.parameters(), tokens])
    p, life = parameters(layer), tokens.detach().double().requires_grad_()
    expected = torch.autograd.grad((live(p, life[0], window, sinks)[0] * weighting).sum(), [*p.values(), life])
    for name, gradient, wanted in zip([*p, "tokens"], ours, expected, strict=True):
        assert gradient.abs().max() > 1e-3, name
        torch.testing.assert_close(
            gradient.double(), wanted, rtol=1e-3, atol=1e-3, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_gates_learn_only_from_frames_that_have_left_the_window():
    layer = build(window=3, sinks=1)
    for frames, learns in [(5, False), (6, True)]:  # frame 0 is a sink; frame 1 has left when frame 5 comes
        out, _ = run(layer, torch.randn(1, 1, frames, TOKENS, WIDTH), empty(layer, 1))
        for parameter in (layer.log_rate, layer.step_bias, layer.router_slope, layer.router_bias):
            (gradient,) = torch.autograd.grad(out.square().sum(), parameter, retain_graph=True)
            assert bool((gradient != 0).all()) == learns


@torch.no_grad()
def test_rounding_does_not_add_up_under_mixed_precision():
    layer, tokens = build(3, 1), torch.randn(2, 1, 60, TOKENS, WIDTH)
    exact, _ = run(layer, tokens, empty(layer, 2))
    with torch.autocast("cpu", torch.bfloat16):
        rounded, (ring, state, _) = run(layer, tokens, empty(layer, 2))
    assert {v.dtype for v in (*ring, state)} == {torch.float32}
    error = (rounded.float() - exact).square().mean((0, 1, 3, 4)).sqrt()
    assert error.max() < 0.1
    assert error[-20:].mean() < 2 * error[:20].mean()
