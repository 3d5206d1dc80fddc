"""Attention to all frames, and to a window with sinks: against a softmax over the frames in sight, one by one."""

import pytest
import torch

from model.local_attention import frame_local_attention, plan_everything, plan_windows

HEADS, CHANNELS, TOKENS, SPAN = 3, 4, 2, 50
GARBAGE = 7.0  # stands where nothing was seen


def draw(lengths, frames, streams):
    """Queries, keys, values of frames to come, and for each row the keys and values `[t q heads e]` of those before."""
    new = torch.randn(3, len(lengths), streams, frames, TOKENS, HEADS, CHANNELS, dtype=torch.float64)
    past = [torch.randn(2, length, TOKENS, HEADS, CHANNELS, dtype=torch.float64) for length in lengths]
    return new, past


def stack(past, length, where):
    """The last (or first) `length` frames of every row as a pair of tensors, those that were never seen as garbage."""
    rows = []
    for frames in past:
        kept = frames[:, max(0, frames.shape[1] - length) :] if where == "last" else frames[:, :length]
        pad = torch.full((2, length - kept.shape[1], *kept.shape[2:]), GARBAGE, dtype=kept.dtype)
        rows.append(torch.cat([pad, kept] if where == "last" else [kept, pad], 1))
    keys, values = torch.stack(rows, 1)
    return keys, values


def explicit(new, past, age_of):
    """One softmax a token and head; `age_of(query, frame)` is the age that counts, or None where a frame is unseen."""
    queries, keys, values = new
    out = torch.empty_like(queries)
    for b, s, t in torch.cartesian_prod(*map(torch.arange, queries.shape[:3])).tolist():
        before = past[b].shape[1]
        everything = torch.cat([past[b], torch.stack([keys[b, 0], values[b, 0]])], 1)
        sights = []
        for place in range(everything.shape[1]):
            age = age_of(before + t, place)
            own = place == before + t
            if age is not None:
                sights.append((age, torch.stack([keys[b, s, t], values[b, s, t]]) if own else everything[:, place]))
        for head in range(HEADS):
            slope = SPAN ** -(head / (HEADS - 1))
            seen = torch.cat([v[:, :, head] for _, v in sights], 1)
            bias = torch.cat([torch.full((TOKENS,), -slope * age, dtype=torch.float64) for age, _ in sights])
            for q in range(TOKENS):
                weights = (seen[0] @ queries[b, s, t, q, head] / CHANNELS**0.5 + bias).exp()
                out[b, s, t, q, head] = weights @ seen[1] / weights.sum()
    return out


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize(
    ("lengths", "ring", "frames"),
    [([0, 0], 0, 1), ([0, 0], 0, 5), ([4, 4], 4, 1), ([6, 0, 3], 6, 3), ([1, 5], 5, 7), ([2, 1], 4, 2)],
)
def test_full_attention_sees_all_before_and_keeps_all(lengths, ring, frames, streams):
    new, past = draw(lengths, frames, streams)
    plan = plan_everything(torch.tensor(lengths), streams, frames, TOKENS, ring, HEADS, SPAN)
    given = stack(past, ring, "last")
    read, after = frame_local_attention(*new, given, plan)
    close(read, explicit(new, past, lambda query, place: query - place if place <= query else None))
    for ours, before, came in zip(after, given, new[1:], strict=True):
        assert torch.equal(ours, torch.cat([before, came[:, 0]], 1))


@pytest.mark.parametrize(("lengths", "ring", "frames"), [([0, 0], 0, 1), ([0, 0], 0, 6), ([3, 0, 1], 3, 4)])
def test_attention_both_ways_sees_all_and_counts_the_distance(lengths, ring, frames):
    new, past = draw(lengths, frames, streams=1)
    plan = plan_everything(torch.tensor(lengths), 1, frames, TOKENS, ring, HEADS, SPAN, both_ways=True)
    read, _ = frame_local_attention(*new, stack(past, ring, "last"), plan)
    close(read, explicit(new, past, lambda query, place: abs(query - place)))


@pytest.mark.parametrize("streams", [1, 2])
@torch.no_grad()
def test_full_attention_stepped_over_a_growing_ring_is_the_sequence(streams):
    new, past = draw([0, 0], 9, streams)
    whole = explicit(new, past, lambda query, place: query - place if place <= query else None)
    ring, seen = stack(past, 0, "last"), torch.tensor([0, 0])
    for t in [slice(0, 1), slice(1, 2), slice(2, 6), slice(6, 9)]:
        plan = plan_everything(seen, streams, t.stop - t.start, TOKENS, ring[0].shape[1], HEADS, SPAN)
        read, ring = frame_local_attention(*new[:, :, :, t], ring, plan)
        seen = seen + t.stop - t.start
        close(read, whole[:, :, t])


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize(
    ("lengths", "frames", "window", "sinks"),
    [
        ([0, 0], 1, 3, 1),
        ([0, 0], 9, 3, 1),
        ([0, 0], 8, 2, 2),
        ([5, 2, 3, 4], 1, 3, 1),
        ([0, 1, 4, 9], 5, 2, 2),
        ([7, 1], 4, 1, 1),
        ([6, 2, 3], 3, 5, 4),
    ],
)
def test_sinks_outside_the_window_count_as_just_beyond_it(lengths, frames, window, sinks, streams):
    new, past = draw(lengths, frames, streams)

    def age_of(query, place):
        age = query - place
        if 0 <= age <= window:
            return age
        return window + 1 if age > window and place < sinks else None

    plan = plan_windows(torch.tensor(lengths), streams, frames, TOKENS, window, HEADS, SPAN, sinks)
    lives = [torch.cat([row, new[1:, b, 0]], 1) for b, row in enumerate(past)]
    first = stack(lives, sinks, "first")
    given = stack(past, window, "last")
    read, after = frame_local_attention(*new, given, plan, first)
    close(read, explicit(new, past, age_of))
    for ours, before, came in zip(after, given, new[1:], strict=True):
        assert torch.equal(ours, torch.cat([before, came[:, 0]], 1)[:, -window:])
