"""The chunked scan against the loop that defines it, and the loop against sums done by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.ssm import chunked_scan, scan_reference

NAMES = ("x", "a", "b_in", "c_out", "state")


def draw(frames, m, streams=1, dtype=torch.float64, log_decay=-1.0, groups=2, heads=2, p=3, n=5):
    """Random scan inputs; log decays are uniform between `log_decay` and 0."""
    shape = (groups, streams, frames, m)
    inputs = (
        torch.randn(*shape, heads, p, dtype=dtype),
        log_decay * torch.rand(*shape, heads, dtype=dtype),
        torch.randn(*shape, n, dtype=dtype),
        torch.randn(*shape, n, dtype=dtype),
        torch.randn(groups, heads, p, n, dtype=dtype),
    )
    return [v.requires_grad_() for v in inputs]


def gradients(outputs, inputs):
    """Gradients of a fixed random weighting of the outputs."""
    generator = torch.Generator().manual_seed(1)
    total = sum((v * torch.randn(v.shape, generator=generator, dtype=v.dtype)).sum() for v in outputs)
    return torch.autograd.grad(total, inputs)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("m", [1, 4, 6])
@pytest.mark.parametrize("chunk_tokens", [1, 5, 12, 64])
def test_chunks_equal_the_reference_with_every_gradient(chunk_tokens, m, streams):
    inputs = draw(frames=7, m=m, streams=streams)
    chunked, expected = chunked_scan(*inputs, chunk_tokens), scan_reference(*inputs)
    for ours, theirs in zip(chunked, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    of_chunked, of_reference = gradients(chunked, inputs), gradients(expected, inputs)
    for name, ours, theirs in zip(NAMES, of_chunked, of_reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("chunk_tokens", [4, 12, 64])
def test_without_remembering_the_same_is_read(chunk_tokens, streams):
    inputs = draw(frames=7, m=4, streams=streams)
    read, _ = chunked_scan(*inputs, chunk_tokens)
    fleeting, _ = chunked_scan(*inputs, chunk_tokens, remember=False)
    torch.testing.assert_close(fleeting, read, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(gradients([fleeting], inputs), gradients([read], inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@given(
    frames=st.integers(2, 12),
    m=st.sampled_from([1, 2, 3]),
    streams=st.sampled_from([1, 2]),
    chunk_tokens=st.integers(1, 20),
    data=st.data(),
)
def test_a_sequence_may_be_split_anywhere(frames, m, streams, chunk_tokens, data):
    split = data.draw(st.integers(1, frames - 1))
    *sequence, state = draw(frames, m, streams)
    whole, after = chunked_scan(*sequence, state, chunk_tokens)
    first, between = chunked_scan(*(v[:, :, :split] for v in sequence), state, chunk_tokens)
    second, end = chunked_scan(*(v[:, :, split:] for v in sequence), between, chunk_tokens)
    torch.testing.assert_close(torch.cat([first, second], 2), whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(end, after, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("log_decay", [-0.3, -1.5])
def test_the_reference_is_a_geometric_sum_when_everything_is_constant(log_decay):
    """With x = B = C = 1 the token after i others reads r^(i+1) S + (1 - r^(i+1)) / (1 - r), r = exp(a)."""
    frames, m, start = 5, 3, 2.0
    ones = torch.ones(1, 1, frames, m, 1, dtype=torch.float64)
    state = torch.full((1, 1, 1, 1), start, dtype=torch.float64)
    r = torch.tensor(log_decay, dtype=torch.float64).exp()
    power = r ** torch.arange(1, frames * m + 1)
    expected = power * start + (1 - power) / (1 - r)
    for scan in (scan_reference, lambda *v: chunked_scan(*v, 6)):
        read, after = scan(ones[..., None], log_decay * ones, ones, ones, state)
        torch.testing.assert_close(read.flatten(), expected)
        torch.testing.assert_close(after.flatten(), expected[-1:])


def test_the_reading_stream_starts_every_frame_from_what_the_writing_stream_left():
    """Closed form as above; the reading stream's values are 10 and its rate another, and none of it is kept."""
    frames, m, a_writing, a_reading = 4, 3, -0.4, -0.9
    ones = torch.ones(1, 2, frames, m, 1, dtype=torch.float64)
    x, a = ones.clone()[..., None], a_writing * ones
    x[:, 1], a[:, 1] = 10, a_reading
    state = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    r, q = torch.tensor([a_writing, a_reading], dtype=torch.float64).exp()
    left = (1 - r ** (m * torch.arange(frames))) / (1 - r)
    power = q ** torch.arange(1, m + 1)
    expected = power * left[:, None] + 10 * (1 - power) / (1 - q)
    for scan in (scan_reference, lambda *v: chunked_scan(*v, 6)):
        read, after = scan(x, a, ones, ones, state)
        torch.testing.assert_close(read[0, 1, :, :, 0, 0], expected)
        assert after.item() == pytest.approx(((1 - r ** (m * frames)) / (1 - r)).item())


@pytest.mark.parametrize("log_decay", [-50.0, -1e4])
@pytest.mark.parametrize("streams", [1, 2])
def test_strong_decays_stay_finite(streams, log_decay):
    """Masked entries would be exp(+50 * 64) if they were exponentiated before they are masked."""
    inputs = draw(frames=16, m=4, streams=streams, dtype=torch.float32)
    with torch.no_grad():
        inputs[1].fill_(log_decay)
        inputs[1][:, :, ::5] = -0.01
    outputs = chunked_scan(*inputs, 64)
    if log_decay > -100:  # beyond, float32 sums of log decays lose the weak ones among them
        for ours, theirs in zip(outputs, scan_reference(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert all(v.isfinite().all() for v in (*outputs, *gradients(outputs, inputs)))


def test_the_reading_stream_leaves_no_trace_and_sees_only_the_past():
    frame, inputs = 3, draw(frames=6, m=2, streams=2)
    read, after = chunked_scan(*inputs, 4)
    traces = torch.autograd.grad(read[:, 0].sum() + after.sum(), inputs[:4], retain_graph=True)
    seen = torch.autograd.grad(read[:, 1, frame].sum(), inputs[:4])
    for name, trace, sight in zip(NAMES[:4], traces, seen, strict=True):
        assert not trace[:, 1].any(), name
        assert not sight[:, 0, frame:].any(), name
        assert not sight[:, 1, :frame].any(), name
        assert not sight[:, 1, frame + 1 :].any(), name
        assert sight[:, 1, frame].any(), name
    assert seen[0][:, 0, :frame].all()


def test_one_stream_reads_the_same_with_and_without_the_other():
    inputs = draw(frames=6, m=2, streams=2)
    both, after_both = chunked_scan(*inputs, 4)
    alone, after_alone = chunked_scan(*(v[:, :1] for v in inputs[:4]), inputs[4], 4)
    torch.testing.assert_close(both[:, :1], alone, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(after_both, after_alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("streams", [1, 2])
def test_bfloat16_values_keep_a_float32_state(streams):
    *sequence, state = (v.detach() for v in draw(frames=40, m=4, streams=streams, dtype=torch.float32))
    rounded = [v.bfloat16() for v in sequence]
    rounded[1] = sequence[1]
    read, after = chunked_scan(*rounded, state, 32)
    expected, expected_after = scan_reference(*(v.float() for v in rounded), state)
    assert (read.dtype, after.dtype) == (torch.bfloat16, torch.float32)
    scale = expected.abs().max().item()
    torch.testing.assert_close(read.float(), expected, rtol=0, atol=0.02 * scale)
    torch.testing.assert_close(after, expected_after, rtol=0, atol=0.02 * expected_after.abs().max().item())


def test_a_float32_state_is_not_mutated():
    inputs = [v.detach() for v in draw(frames=5, m=2, dtype=torch.float32)]
    before = [v.clone() for v in inputs]
    chunked_scan(*inputs, 4)
    assert all(torch.equal(v, w) for v, w in zip(inputs, before, strict=True))
