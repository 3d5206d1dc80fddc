"""The factored scan against the loop that defines it, and what `chunked_scan` does where decays cannot be factored."""

import math
from unittest import mock

import pytest
import torch

from model import ssm
from model.factored_scan import bounded_decays, factored_scan, fits, reading_weights, summed_decays
from model.ssm import chunked_scan, scan_reference

NAMES = ("what is read", "the state after", *(f"the gradient of {name}" for name in ("x", "a", "B", "C", "the state")))
FRAMES, HEADS = 24, 4
RATES = (0.0, 1.0, 50.0, 400.0)


def draw(decay, m=4, streams=1, dtype=torch.float32, groups=2, p=3, n=5):
    """Random scan inputs; `decay` makes log decays of random numbers between 0 and 1."""
    shape = (groups, streams, FRAMES, m)
    inputs = (
        torch.randn(*shape, HEADS, p, dtype=dtype),
        decay(torch.rand(*shape, HEADS, dtype=dtype)),
        torch.randn(*shape, n, dtype=dtype),
        torch.randn(*shape, n, dtype=dtype),
        torch.randn(groups, HEADS, p, n, dtype=dtype),
    )
    return [v.requires_grad_() for v in inputs]


def resets(uniform):
    """One token in ten decays by e to the -4555, as in trained networks; the others hardly."""
    return torch.where(uniform < 0.1, -4555, -0.1 * uniform)


def long_runs(uniform):
    """Decays by e to the -5 at each token of a third of the frames, and not at all elsewhere."""
    middle = torch.arange(FRAMES) // (FRAMES // 3) == 1
    return torch.zeros_like(uniform) - 5 * middle[:, None, None]


def unlike_heads(uniform):
    """Heads that decay from nothing to e to the -40 a token."""
    return -0.1 * uniform * torch.tensor(RATES, dtype=uniform.dtype)


DECAYS = {
    "weak": lambda uniform: -0.1 * uniform,
    "none": torch.zeros_like,
    "resets": resets,
    "long_runs": long_runs,
    "unlike_heads": unlike_heads,
    "all": lambda uniform: resets(uniform) + unlike_heads(uniform) + long_runs(uniform),
}


def with_gradients(outputs, inputs):
    """Outputs, and gradients of a fixed random weighting of them."""
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(v.shape, generator=generator).to(v.dtype) for v in outputs]
    total = sum((v * w).sum() for v, w in zip(outputs, weights, strict=True))
    return [*outputs, *torch.autograd.grad(total, inputs)]


def in_chunks(inputs, frames):
    """Inputs of `factored_scan` from those of `chunked_scan`."""
    x, a, b_in, c_out, state = inputs
    reads = reading_weights(x.shape[1], frames, x.shape[3], state)
    x, a, b_in, c_out = (v.unflatten(2, (-1, frames)).flatten(3, 4) for v in (x, a, b_in, c_out))
    return x, summed_decays(bounded_decays(a, state.dtype), reads), b_in, c_out, state, reads


@pytest.fixture
def routes(monkeypatch):
    """The route of each scan: how many tokens were factored at a time, or "paired"."""
    taken = []

    def factored(x, *others):
        taken.append(x.shape[3])
        return factored_scan(x, *others)

    def paired(*inputs, scan=ssm._paired_scan):
        taken.append("paired")
        return scan(*inputs)

    monkeypatch.setattr(ssm, "factored_scan", factored)
    monkeypatch.setattr(ssm, "_paired_scan", paired)
    return taken


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("m", [1, 4, 16])
@pytest.mark.parametrize("decay", DECAYS)
def test_any_decay_is_right_in_float32_with_every_gradient(decay, m, streams):
    """The loop in float64 says what is right; errors are shares of the largest value."""
    inputs = draw(DECAYS[decay], m, streams)
    exact = [v.detach().double().requires_grad_() for v in inputs]
    ours = with_gradients(chunked_scan(*inputs, 16), inputs)
    expected = with_gradients(scan_reference(*exact), exact)
    for name, value, right in zip(NAMES, ours, expected, strict=True):
        assert (value - right).abs().max() <= 2e-5 * right.abs().max(), name


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("cached", [1, 2**18])
@pytest.mark.parametrize("frames", [1, 3, 8, 24])
def test_factored_equals_the_loop_in_float64(frames, cached, streams):
    inputs = draw(DECAYS["weak"], streams=streams, dtype=torch.float64)
    with mock.patch("model.factored_scan.CACHED_NUMBERS", cached):  # a chunk at a time, or all
        read, after = factored_scan(*in_chunks(inputs, frames))
        ours = with_gradients((read.flatten(2, 3).unflatten(2, (FRAMES, -1)), after), inputs)
    expected = with_gradients(scan_reference(*inputs), inputs)
    for name, value, right in zip(NAMES, ours, expected, strict=True):
        torch.testing.assert_close(value, right, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("streams", [1, 2])
def test_the_gradient_by_hand_is_that_of_finite_differences(streams):
    inputs = [v[:, :, :4].detach().requires_grad_() for v in draw(DECAYS["weak"], 1, streams, torch.float64, 1)[:4]]
    inputs += draw(DECAYS["weak"], dtype=torch.float64, groups=1)[4:]
    assert torch.autograd.gradcheck(lambda *v: factored_scan(*in_chunks(v, 2)), inputs)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("decay", ["weak", "resets"])
def test_both_routes_agree(decay, streams, routes, monkeypatch):
    inputs = draw(DECAYS[decay], 3, streams)
    ours = with_gradients(chunked_scan(*inputs, 6), inputs)
    monkeypatch.setattr(ssm, "fits", lambda _: False)
    theirs = with_gradients(chunked_scan(*inputs, 6), inputs)
    assert routes[0] == 6
    assert routes[1:] == ["paired"]
    for name, value, right in zip(NAMES, ours, theirs, strict=True):
        assert (value - right).abs().max() <= 2e-5 * right.abs().max(), name


@pytest.mark.parametrize(
    ("decay", "m", "route"),
    [(0, 1, 12), (-5, 1, 12), (-8, 1, 6), (-8, 4, "paired"), (-5, 4, 12), (-20, 1, "paired"), (-math.inf, 6, "paired")],
)
def test_chunks_are_as_long_as_their_decay_allows(decay, m, route, routes):
    """Of twelve frames; the range of float32 is e to the 80, and fewer than six tokens are not factored."""
    inputs = draw(lambda uniform: torch.full_like(uniform, decay), m)
    outputs = chunked_scan(*inputs, 12 * m)
    assert routes == [route]
    assert all(v.isfinite().all() for v in with_gradients(outputs, inputs))


def test_one_chunk_is_not_factored(routes):
    inputs = draw(DECAYS["weak"])
    chunked_scan(*inputs, FRAMES * 4)
    assert routes == ["paired"]


def test_without_gradients_nothing_is_factored(routes):
    """So that no later token decides how an earlier one is rounded."""
    inputs = draw(DECAYS["weak"])
    with torch.no_grad():
        chunked_scan(*inputs, 24)
    assert routes == ["paired"]
    chunked_scan(*inputs, 24)
    assert routes == ["paired", 24]


def test_what_is_not_read_may_be_beyond_the_range():
    """Where the last tokens would meet the first ones' scaled values, the product is e to the 80 times 1e8."""
    inputs = draw(lambda uniform: torch.full_like(uniform, -79 / 11), m=1)
    with torch.no_grad():
        inputs[0].mul_(1e8)
    prepared = in_chunks(inputs, 12)
    assert fits(prepared[1])
    assert all(v.isfinite().all() for v in with_gradients(factored_scan(*prepared), inputs))


def test_later_tokens_change_nothing_before_them():
    """Bit for bit, within a chunk and across chunks, whatever comes later."""
    inputs, frame = [v.detach() for v in draw(DECAYS["weak"], streams=2)], 13
    before, _ = chunked_scan(*inputs, 24)
    for v in inputs[:4]:
        v[:, :, frame:] *= 1.5
    after, _ = chunked_scan(*inputs, 24)
    assert torch.equal(after[:, :, :frame], before[:, :, :frame])
    assert not torch.equal(after[:, :, frame:], before[:, :, frame:])


@pytest.mark.parametrize("streams", [1, 2])
def test_mixed_precision_keeps_decays_and_states_in_float32(streams, routes):
    inputs = draw(DECAYS["weak"], 4, streams)
    for i in (0, 2, 3):
        inputs[i] = inputs[i].detach().bfloat16().requires_grad_()
    exact = [v.detach().double().requires_grad_() for v in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        outputs = chunked_scan(*inputs, 16)
    ours, expected = with_gradients(outputs, inputs), with_gradients(scan_reference(*exact), exact)
    assert routes == [16]
    assert [v.dtype for v in ours[2:]] == [v.dtype for v in inputs]
    assert (ours[1] - expected[1]).abs().max() <= 1e-5 * expected[1].abs().max()  # not rounded to bfloat16
    for name, value, right in zip(NAMES, ours, expected, strict=True):
        assert (value - right).abs().max() <= 0.01 * right.abs().max(), name


def test_a_bound_on_decay_keeps_what_rounding_keeps():
    a = torch.tensor([0, -3.0, -23.0, -25.0, -4555.0, -torch.inf], requires_grad=True)
    bounded = bounded_decays(a, torch.float32)
    assert torch.equal(bounded[:3], a[:3])
    assert bounded[3:].unique().exp().item() == pytest.approx(torch.finfo(torch.float32).eps ** 1.5, rel=1e-4)
    (gradient,) = torch.autograd.grad(bounded.sum(), a)
    assert gradient.tolist() == [1, 1, 1, 0, 0, 0]


def test_a_token_reads_what_the_streams_say():
    earlier, own, nothing = [[0, 0], [0, 0]], [[1, 0], [1, 1]], [[0, 0], [0, 0]]
    everything = [[1, 1], [1, 1]]
    expected = torch.cat(
        [
            torch.cat([torch.tensor(block, dtype=torch.float32) for block in row], 1)
            for row in (
                [own, nothing, nothing, nothing],
                [everything, own, nothing, nothing],
                [earlier, nothing, own, nothing],
                [everything, nothing, nothing, own],
            )
        ]
    )
    assert torch.equal(reading_weights(2, 2, 2, torch.zeros(1)), expected)
    assert torch.equal(reading_weights(1, 2, 2, torch.zeros(1)), expected[:4, :4])
