"""Frame-local attention against a softmax written out, against FlexAttention, and stepped."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from model import local_attention
from model.local_attention import frame_local_attention, plan_windows, softmax_attention

HEADS, CHANNELS, TOKENS = 2, 4, 3


def draw(frames, window, batch=2, streams=1, filled=0, dtype=torch.float64):
    """Queries, keys, values, and a ring of which the last `filled` frames hold something."""
    inputs = torch.randn(3, batch, streams, frames, TOKENS, HEADS, CHANNELS, dtype=dtype)
    ring = torch.randn(2, batch, window, TOKENS, HEADS, CHANNELS, dtype=dtype)
    return (*inputs, tuple(ring), torch.full((batch,), filled))


def attend(queries, keys, values, ring, filled):
    streams, frames = queries.shape[1:3]
    plan = plan_windows(filled, streams, frames, TOKENS, ring[0].shape[1], HEADS)
    return frame_local_attention(queries, keys, values, ring, plan)


def slopes(dtype):
    """How fast each head's interest falls with a key's age: from 1 down to 1/16 in equal ratios."""
    return 16.0 ** -(torch.arange(HEADS, dtype=dtype) / (HEADS - 1))


def naive(queries, keys, values, ring, filled, window):
    """One softmax a token over the frames it may see, gathered one by one."""
    batch, streams, frames = queries.shape[:3]
    out = torch.empty_like(queries)
    for b in range(batch):
        for s in range(streams):
            for t in range(frames):
                seen = []
                for past in range(t - window, t + 1):
                    if past == t:
                        frame = keys[b, s, t], values[b, s, t]
                    elif past >= 0:
                        frame = keys[b, 0, past], values[b, 0, past]
                    elif past >= -int(filled[b]):
                        frame = ring[0][b, window + past], ring[1][b, window + past]
                    else:
                        continue
                    score = torch.einsum("qhe,khe->hqk", queries[b, s, t], frame[0]) / CHANNELS**0.5
                    seen.append((score - (t - past) * slopes(score.dtype)[:, None, None], frame[1]))
                weight = torch.cat([score for score, _ in seen], -1).softmax(-1)
                out[b, s, t] = torch.einsum("hqk,khe->qhe", weight, torch.cat([v for _, v in seen]))
    return out


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize(
    ("frames", "window", "filled"),
    [(1, 3, 0), (1, 3, 3), (2, 3, 1), (3, 3, 2), (7, 3, 0), (10, 3, 3), (9, 1, 1), (5, 8, 0), (5, 8, 6), (7, 4, 0),
     (10, 4, 3), (2, 2, 2), (1, 4, 4)],
)  # fmt: skip
def test_equals_a_softmax_written_out(frames, window, filled, streams):
    inputs = draw(frames, window, streams=streams, filled=filled)
    read, ring = attend(*inputs)
    torch.testing.assert_close(read, naive(*inputs, window), rtol=1e-6, atol=1e-6)
    for given, new, past in zip(inputs[3], ring, inputs[1:3], strict=True):
        assert torch.equal(new, torch.cat([given, past[:, 0]], 1)[:, -window:])


def test_rows_may_have_seen_different_numbers_of_frames():
    *inputs, _ = draw(frames=4, window=3, batch=3)
    filled = torch.tensor([0, 3, 1])
    torch.testing.assert_close(attend(*inputs, filled)[0], naive(*inputs, filled, 3), rtol=1e-6, atol=1e-6)


def test_a_wide_window_is_full_causal_attention():
    queries, keys, values, ring, filled = draw(frames=9, window=9)
    read, _ = attend(queries, keys, values, ring, filled)
    frame = torch.arange(9).repeat_interleave(TOKENS)
    age = frame[:, None] - frame
    bias = (-slopes(torch.float64)[:, None, None] * age).masked_fill(age < 0, -torch.inf)
    q, k, v = (x[:, 0].flatten(1, 2).transpose(1, 2) for x in (queries, keys, values))
    full = torch.softmax(q @ k.mT / CHANNELS**0.5 + bias, -1) @ v
    torch.testing.assert_close(read[:, 0].flatten(1, 2).transpose(1, 2), full, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*flex_attention.*")
@pytest.mark.parametrize(("frames", "window"), [(40, 3), (20, 20), (17, 6)])
def test_equals_flex_attention(frames, window):
    queries, keys, values, ring, filled = draw(frames, window, dtype=torch.float32)
    read, _ = attend(queries, keys, values, ring, filled)
    rates = slopes(torch.float32)

    def in_window(b, h, query, key):
        age = query // TOKENS - key // TOKENS
        return (age >= 0) & (age <= window)

    def fade(score, b, h, query, key):
        return score - rates[h] * (query // TOKENS - key // TOKENS)

    q, k, v = (x[:, 0].flatten(1, 2).transpose(1, 2).contiguous() for x in (queries, keys, values))
    mask = create_block_mask(in_window, None, None, frames * TOKENS, frames * TOKENS, device="cpu")
    flex = flex_attention(q, k, v, score_mod=fade, block_mask=mask)
    torch.testing.assert_close(read[:, 0].flatten(1, 2).transpose(1, 2), flex, rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [1, 3, 6])
def test_stepping_equals_the_sequence_over_300_frames(window):
    queries, keys, values, ring, filled = draw(300, window, dtype=torch.float32)
    whole, after = attend(queries, keys, values, ring, filled)
    steps = []
    for t in range(300):
        read, ring = attend(*(v[:, :, t : t + 1] for v in (queries, keys, values)), ring, filled)
        filled = (filled + 1).clamp_max(window)
        steps.append(read)
    torch.testing.assert_close(torch.cat(steps, 2), whole, rtol=0, atol=1e-4)
    assert all(torch.equal(v, w) for v, w in zip(ring, after, strict=True))


@pytest.mark.parametrize("streams", [1, 2])
def test_frames_out_of_the_window_or_of_time_do_not_count(streams):
    window, frame = 3, 8
    queries, keys, values, ring, filled = draw(12, window, streams=streams)
    keys.requires_grad_(), values.requires_grad_()
    read, _ = attend(queries, keys, values, ring, filled)
    last = streams - 1
    for gradient in torch.autograd.grad(read[:, last, frame].square().sum(), (keys, values)):
        reached = gradient.abs().sum((0, 3, 4, 5)) > 0
        expected = torch.zeros(streams, 12, dtype=torch.bool)
        expected[0, frame - window : frame] = True
        expected[last, frame] = True
        assert torch.equal(reached, expected)


def test_an_empty_ring_does_not_count():
    queries, keys, values, ring, filled = draw(4, 3)
    read, _ = attend(queries, keys, values, ring, filled)
    assert torch.equal(attend(queries, keys, values, tuple(1e3 * v for v in ring), filled)[0], read)


def test_in_mixed_precision_it_is_the_same_to_the_digits_there_are():
    """Gradients too; queries that see one key only read it exactly as it is rounded."""
    queries, keys, values = (torch.randn(3, HEADS, n, 32, requires_grad=True) for n in (8, 12, 12))
    bias = torch.zeros(1, HEADS, 8, 12).masked_fill(torch.rand(1, HEADS, 8, 12) < 0.3, -torch.inf)
    bias[:, :, 2], bias[:, :, 2, 5] = -torch.inf, 0
    found = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            read = softmax_attention(queries, keys, values, bias)
        gradients = torch.autograd.grad(read.float().square().sum(), (queries, keys, values))
        found.append([read.float(), *gradients])
        assert read.dtype == (torch.bfloat16 if mixed else torch.float32)
    for exact, rounded in zip(*found, strict=True):
        assert 0 < (exact - rounded).square().mean().sqrt() < 0.02 * exact.square().mean().sqrt()
    torch.testing.assert_close(found[1][0][:, :, 2], values[:, :, 5].bfloat16().float(), rtol=0, atol=0)


@pytest.mark.parametrize(("keys", "fused"), [(12, 0), (13, 1)])
def test_many_keys_go_through_the_fused_kernel(keys, fused, monkeypatch):
    """In mixed precision, too: their weights would not fit into memory."""
    monkeypatch.setattr(local_attention, "FEW_KEYS", 12)
    queries, past = torch.randn(1, HEADS, 4, 32), torch.randn(1, HEADS, keys, 32)
    calls, kernel = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or kernel(*a, **k)
    )
    with torch.autocast("cpu", torch.bfloat16):
        softmax_attention(queries, past, past, torch.zeros(1, HEADS, 4, keys))
    assert len(calls) == fused
