"""Frame-local attention: each token sees all tokens of its own frame and of the k frames before (Eq. 6).

What LSSVWM is compared with sees all frames before, or all frames: other plans for the same attention.

Time is cut in chunks of k / 2 frames (of k, if that is odd), so that the keys a chunk needs are its own and the k
frames before: dense matrix products, and little of them for keys out of sight. Stepping is a chunk of one frame against
the ring of keys and values in memory. Stream 1, if present, sees stream 0's frames before its own frame, and its own
frame.

Source: arXiv:2505.20171 Eq. 6 (`frame_causal`). The paper's S2 groups frames by five and attends both ways inside a
group; an environment cannot show frames that depend on actions not yet taken, so we do not. Time enters as a bias that
falls with a key's age, at a rate of its own in each head (arXiv:2108.12409); the paper does not say what it uses.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

FEW_KEYS = 1024
"""Up to so many keys attention is worked out by matrix products where that is faster."""

AttentionInput = Float[Tensor, "b s t q heads e"]
Ring = Float[Tensor, "b _k q heads _e"]
"""Keys, values, or gates of frames before."""


@dataclass(frozen=True)
class WindowPlan:
    """What every layer of one forward pass shares: how time is cut, who sees whom, and what stays in the ring.

    Attributes:
        chunk: frames per chunk.
        chunks: chunks of the padded sequence.
        bias: `[b_chunks heads queries keys]`: minus infinity where a query may not look, else minus slope times age.
        leaving: frames that leave the ring as the sequence comes in.
    """

    chunk: int
    chunks: int
    bias: Float[Tensor, "b_chunks heads queries keys"]
    leaving: int


def plan_windows(
    seen: Int[Tensor, " b"],
    streams: int,
    frames: int,
    tokens: int,
    window: int,
    heads: int,
    span: int = 16,
    sinks: int = 0,
) -> WindowPlan:
    """Works out chunks and biases for a sequence that follows on a ring (Eq. 6).

    Args:
        seen: frames that each row has taken in; as many of the last places of its ring hold something.
        streams: 1, or 2 when a read-only stream runs along.
        frames: frames of the sequence.
        tokens: tokens of a frame.
        window: the paper's k, which is the length of the ring.
        heads: attention heads; slopes run from 1 down to 1 / span in equal ratios.
        span: frames over which the head that looks farthest loses interest by a factor of e.
        sinks: first frames that stay in sight when they have left the window, as if they had just left it.
    """
    chunk = min(_chunk_of(window), frames)
    chunks = math.ceil(frames / chunk)
    # positions count from the oldest ring slot: ring 0..k-1, new frames k..k+t-1
    start = torch.arange(chunks, device=seen.device)[:, None] * chunk
    key = start + torch.arange(window + chunk, device=seen.device)
    query = start + window + torch.arange(chunk, device=seen.device)
    exists = (key[None] >= window - seen[:, None, None])[:, :, None, :]
    age = (query[:, :, None] - key[:, None, :])[:1]
    visible = (age >= 0) & (age <= window) & exists
    bias = _bias(visible, age, streams, tokens, heads, span)
    if sinks:
        at = seen[:, None, None] + query - window
        beyond = (at[..., None] - torch.arange(sinks, device=seen.device) > window).repeat(1, 1, streams, 1)
        age = torch.full_like(beyond[:1, :1], window + 1, dtype=torch.int64)[0]
        bias = torch.cat([_bias(beyond, age, 1, tokens, heads, span), bias], -1)
    return WindowPlan(chunk, chunks, bias, frames)


def plan_everything(
    seen: Int[Tensor, " b"],
    streams: int,
    frames: int,
    tokens: int,
    ring: int,
    heads: int,
    span: int,
    both_ways: bool = False,
) -> WindowPlan:
    """The same for frames that see all frames before them; nothing leaves the ring.

    Args beside those of `plan_windows`:
        ring: how long the ring is by now.
        both_ways: whether frames see later ones, too.
    """
    key = torch.arange(ring + frames, device=seen.device)
    age = (key[ring:, None] - key)[None]
    visible = (torch.ones_like(age, dtype=torch.bool) if both_ways else age >= 0)[None]
    if ring:
        visible = visible & (key >= ring - seen[:, None])[:, None, None, :]
    return WindowPlan(frames, 1, _bias(visible, age.abs(), streams, tokens, heads, span), 0)


def _chunk_of(window: int) -> int:
    """Frames of a chunk: half the window where it has halves. Shorter ones copy more keys than they save products."""
    return window // 2 if window % 2 == 0 else window


def slopes_of(heads: int, span: int) -> Float[Tensor, " heads"]:
    """How fast each head loses interest with age: from 1 down to 1 / span, in equal ratios."""
    return float(span) ** -torch.linspace(0, 1, heads)


def _bias(seen: Tensor, age: Tensor, streams: int, tokens: int, heads: int, span: int) -> Tensor:
    """Biases of tokens, from who sees whom `[b chunks queries keys]` and ages `[1 queries keys]`, both of frames."""
    queries = age.shape[1]
    if streams == 2:
        own = torch.eye(queries, dtype=torch.bool, device=age.device).expand(*seen.shape[:-1], queries)
        main = torch.cat([seen, torch.zeros_like(own)], -1)
        seen = torch.cat([main, torch.cat([seen & (age > 0), own], -1)], -2)
        age = torch.cat([age, torch.zeros_like(age[..., :queries])], -1).repeat(1, 2, 1)
    slopes = slopes_of(heads, span).to(age.device)
    bias = (-slopes[:, None, None] * age).masked_fill(
        ~rearrange(seen, "b c queries keys -> (b c) 1 queries keys"), -torch.inf
    )
    return bias.repeat_interleave(tokens, -2).repeat_interleave(tokens, -1)


def frame_local_attention(
    queries: AttentionInput,
    keys: AttentionInput,
    values: AttentionInput,
    ring: tuple[Ring, Ring],
    plan: WindowPlan,
    sinks: tuple[Ring, Ring] | None = None,
) -> tuple[AttentionInput, tuple[Ring, Ring]]:
    """Attends within the window of k frames before each frame.

    Args:
        queries: one per token, both streams.
        keys: one per token.
        values: one per token.
        ring: keys and values of the frames before the first, oldest first: k of them, or all.
        plan: from `plan_windows` or `plan_everything`, for the same shapes.
        sinks: keys and values of the first frames, if the plan has them.

    Returns:
        What each token read, and the ring after the last frame of stream 0.
    """
    window, frames = ring[0].shape[1], queries.shape[2]
    streams, padding = queries.shape[1], plan.chunk * plan.chunks - frames
    main_keys, *own_keys = keys.unbind(1)
    main_values, *own_values = values.unbind(1)
    past_keys, past_values = torch.cat([ring[0], main_keys], 1), torch.cat([ring[1], main_values], 1)
    k = _windows(_pad_time(past_keys, padding, 1), window, plan.chunk, [_pad_time(v, padding, 1) for v in own_keys])
    v = _windows(_pad_time(past_values, padding, 1), window, plan.chunk, [_pad_time(v, padding, 1) for v in own_values])
    if sinks is not None:
        first = [rearrange(f, "b t q heads e -> b heads (t q) e").repeat_interleave(plan.chunks, 0) for f in sinks]
        k, v = torch.cat([first[0], k], 2), torch.cat([first[1], v], 2)
    q = rearrange(_pad_time(queries, padding, 2), "b s (c t) q heads e -> (b c) heads (s t q) e", t=plan.chunk)
    read = softmax_attention(q, k, v, plan.bias)
    out = rearrange(read, "(b c) heads (s t q) e -> b s (c t) q heads e", c=plan.chunks, s=streams, t=plan.chunk)
    return out[:, :, :frames], (past_keys[:, plan.leaving :], past_values[:, plan.leaving :])


def softmax_attention(
    queries: Float[Tensor, "n heads queries e"],
    keys: Float[Tensor, "n heads keys e"],
    values: Float[Tensor, "n heads keys e"],
    bias: Float[Tensor, "b_chunks heads queries keys"],
) -> Float[Tensor, "n heads queries e"]:
    """Softmax attention, by torch's fused kernel unless that is slow: to few keys, in mixed precision on a processor.

    There its backward pass takes twice as long as two matrix products. The scores are then rounded to the lower
    precision, too, which the kernel keeps.
    """
    few = keys.shape[2] <= FEW_KEYS  # of many, the weights would take too much memory
    if queries.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not few:
        return nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias.to(queries.dtype))
    half = torch.get_autocast_dtype("cpu")
    with torch.autocast("cpu", enabled=False):  # or the softmax is worked out in float32
        q, k, v = (x.to(half) for x in (queries / math.sqrt(queries.shape[-1]), keys, values))
        weights = torch.softmax(q @ k.mT + bias.to(half), -1)
        read: Tensor = weights @ v
    return read


def _windows(past: Tensor, window: int, chunk: int, own: list[Tensor]) -> Tensor:
    """For every chunk the window before it, itself, and the read-only stream's frames of the same chunk."""
    chunks = (past.shape[1] - window) // chunk
    if chunks == 1:  # as in stepping: everything is one window, and nothing is copied
        parts = [past[:, None]]
    else:  # the window is then some whole chunks before
        begins = range(0, window + 1, chunk)
        parts = [past[:, at : at + chunks * chunk].unflatten(1, (chunks, chunk)) for at in begins]
    parts += [v.unflatten(1, (chunks, chunk)) for v in own]
    frames = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
    return rearrange(frames, "b c t q heads e -> (b c) heads (t q) e")


def _pad_time(v: Tensor, frames: int, dim: int) -> Tensor:
    return nn.functional.pad(v, (0, 0) * (v.dim() - 1 - dim) + (0, frames)) if frames else v
