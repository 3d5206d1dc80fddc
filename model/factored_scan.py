"""The scan with its decays multiplied into keys and queries, and its gradient by hand: the fast route on a processor.

With `d_i` the sum of log decays from the chunk's start up to and including token i, and any reference `r`,

    y_i = exp(d_i - r) (sum_j G_ij exp(r - d_j) x_j + exp(r) S C_i),        G_ij = C_i . B_j where i reads j, else 0

where `model.ssm` has exp(d_i - d_j) in the place of the two exponentials. No weight depends on the head then, and all
heads share one matrix product a chunk, `G` with the scaled `x`. The price is range: the exponentials grow with what a
chunk decays, and `fits` says whether they may. Where a token forgets all but exp(-24) of the state, 4e-11, it may as
well keep that much: float32 rounds at 6e-8. `bounded_decays` makes it so, and single tokens fit that forget all.

The gradient of a decay needs no weights either: `d_i` scales what token i reads and unscales what it writes, so its
gradient is `dy_i . y_i - dx_i . x_i` (arXiv:2405.21060 has the same trick in its kernels).

Nothing read depends on later tokens, to the last bit; only `fits` looks at them all. Chunks are taken in groups whose
tensors stay in a processor's cache.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

CACHED_NUMBERS = 2**18
"""Numbers of the scaled values of one group of chunks; two to four times as many are in use at a time."""

Values = Float[Tensor, "g s c l heads p"]
Decays = Float[Tensor, "g c s l heads"]
Gates = Float[Tensor, "g s c l n"]
State = Float[Tensor, "g heads p n"]
Reads = Float[Tensor, "rows rows"]


def reading_weights(streams: int, frames: int, m: int, like: Tensor) -> Reads:
    """1 where a token of a chunk (row, all streams) reads what another (column) writes, else 0.

    Stream 0 reads its past and itself; stream 1 the frames before in stream 0, and its own frame's past in itself.
    The same matrix sums log decays: a token's is that of all it reads.
    """
    causal = like.new_ones(frames * m, frames * m).tril()
    if streams == 1:
        return causal
    earlier = torch.kron(like.new_ones(frames, frames).tril(-1), like.new_ones(m, m))
    return torch.cat([torch.cat([causal, 0 * causal], 1), torch.cat([earlier, causal - earlier], 1)])


def bounded_decays(a: Float[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """Log decays that leave of the state at least what its sums are rounded by to the power 1.5 (float32: exp(-24))."""
    return a.to(dtype).clamp_min(1.5 * math.log(torch.finfo(dtype).eps))


def summed_decays(a: Float[Tensor, "g s c l heads"], reads: Reads) -> Decays:
    """Log decay from each chunk's start up to and including each token."""
    summed: Decays = (reads @ a.transpose(1, 2).flatten(2, 3)).unflatten(2, (a.shape[1], -1))
    return summed


def fits(decays: Decays) -> bool:
    """Whether no chunk decays so much that the factors of its decays leave the range of numbers."""
    flat = decays.detach().flatten(2, 3)
    return not flat.numel() or bool((flat.amax(2) - flat.amin(2)).amax() <= 2 * _largest_exponent(decays.dtype))


def factored_scan(
    x: Values, decays: Decays, b_in: Gates, c_out: Gates, state: State, reads: Reads
) -> tuple[Values, State]:
    """Computes `model.ssm.scan_reference` of chunks whose decays `fits`; what it returns has the precision of `state`.

    Args:
        x: values to write, `c` chunks of `l` tokens, already multiplied by the step size.
        decays: `summed_decays` of them.
        b_in: where in the state a token writes.
        c_out: where in the state a token reads.
        state: what was remembered before the first chunk.
        reads: `reading_weights` of a chunk.

    Returns:
        What each token of each stream reads, and the state after the last chunk of stream 0.
    """
    read, after = _FactoredScan.apply(x, decays, b_in, c_out, state, reads)  # type: ignore[no-untyped-call]
    return read, after


class _FactoredScan(torch.autograd.Function):
    """Tokens of a chunk are rows (streams one after the other), heads and their channels columns: (heads p) = width."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, decays: Tensor, b_in: Tensor, c_out: Tensor, state: Tensor, reads: Tensor
    ) -> tuple[Tensor, Tensor]:
        g, s, c, length, heads, p = x.shape
        n, width, rows = b_in.shape[-1], heads * p, s * length
        # no decay is less than at the start of a stream; from there, half of the range is up and half of it down
        reference = decays[:, :, :, 0].amax(2) - _largest_exponent(decays.dtype)
        up = (decays - reference[:, :, None, None]).exp_()[..., None]
        down = up.reciprocal()
        # a chunk's state carries a factor exp(reference); `left` of it is the next chunk's, with that one's factor
        left = decays[:, :, 0, -1] - reference
        left[:, :-1] += reference[:, 1:]
        left = left.exp_()[..., None].expand(-1, -1, -1, p).reshape(g, c, 1, width)
        entry = reference[:, 0].exp()[..., None, None]
        current = (state * entry).permute(0, 3, 1, 2).flatten(2).clone(memory_format=torch.contiguous_format)

        read = state.new_empty(x.shape)
        groups, saved = _groups(c, g * (rows + n) * width), []
        for part in groups:
            scaled = state.new_empty(g, part.stop - part.start, s, length, heads, p)
            torch.mul(x[:, :, part].transpose(1, 2), down[:, part], out=scaled)
            written = scaled.view(-1, rows, width)
            keys, queries = (_rows(v[:, :, part], state.dtype) for v in (b_in, c_out))
            added = torch.bmm(keys[:, :length].mT, written[:, :length]).view(g, -1, n, width)
            states = torch.empty_like(added)
            first, *later = states.unbind(1)
            first.copy_(current)
            steps = zip(states.unbind(1), added.unbind(1), left[:, part].unbind(1), [*later, current], strict=True)
            for before, new, kept, behind in steps:
                torch.mul(new.add_(before), kept, out=behind)
            weights = torch.bmm(queries, keys.mT).mul_(reads)
            y = torch.bmm(weights, written).baddbmm_(queries, states.view(-1, n, width))
            torch.mul(y.view(scaled.shape).transpose(1, 2), up[:, part].transpose(1, 2), out=read[:, :, part])
            if any(ctx.needs_input_grad):
                saved += [written, keys, queries, states, weights]
        after = current.unflatten(2, (heads, p)).permute(0, 2, 3, 1).contiguous()
        ctx.save_for_backward(up, down, left, entry, read, after, reads, *saved)
        ctx.groups, ctx.kind = groups, x.dtype
        return read, after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_read: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            return _gradients(ctx, d_read, d_after)


def _gradients(ctx: Any, d_read: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
    """Of all arguments of `_FactoredScan`, from those of what it returned."""
    up, down, left, entry, read, after, reads, *saved = ctx.saved_tensors
    g, s, c, length, heads, p = read.shape
    n, width, rows = after.shape[-1], heads * p, s * length
    hidden = reads == 0
    d_x, d_decays = torch.empty_like(read), up.new_empty(g, c, s, length, heads)
    d_keys, d_queries = (up.new_empty(g, s, c, length, n) for _ in range(2))
    d_left = up.new_empty(g, c + 1, heads)
    d_left[:, c] = (after * d_after).sum((2, 3))
    d_current = d_after.permute(0, 3, 1, 2).reshape(g, n, width)
    for i, part in reversed(list(enumerate(ctx.groups))):
        written, keys, queries, states, weights = saved[5 * i : 5 * i + 5]
        d_y = up.new_empty(g, part.stop - part.start, s, length, heads, p)
        torch.mul(d_read[:, :, part].transpose(1, 2), up[:, part], out=d_y)
        d_rows = d_y.view(-1, rows, width)
        d_states = torch.bmm(queries.mT, d_rows).view(states.shape)
        d_added = torch.empty_like(d_states)
        carried = zip(d_states.unbind(1), d_added.unbind(1), left[:, part].unbind(1), strict=True)
        for d_start, d_new, kept in reversed(list(carried)):
            torch.mul(d_current, kept, out=d_new)
            d_current = d_start.add_(d_new)
        flat_added = d_added.view(-1, n, width)
        d_written = torch.bmm(weights.mT, d_rows)
        d_written[:, :length].baddbmm_(keys[:, :length], flat_added)
        # both factors may be large where nothing is read, so their product is not multiplied by 0
        d_weights = torch.bmm(d_rows, written.mT).masked_fill_(hidden, 0)
        d_query = torch.bmm(d_weights, keys).baddbmm_(d_rows, states.view(-1, n, width).mT)
        d_key = torch.bmm(d_weights.mT, queries)
        d_key[:, :length].baddbmm_(written[:, :length], flat_added.mT)
        for whole, of_part in ((d_keys, d_key), (d_queries, d_query)):
            whole[:, :, part] = of_part.view(g, -1, s, length, n).transpose(1, 2)
        of_states = torch.mul(d_states, states, out=d_added).sum(2)
        d_left[:, part] = of_states.unflatten(2, (heads, p)).sum(-1)
        d_scaled = d_written.view(d_y.shape)
        torch.mul(d_scaled.transpose(1, 2), down[:, part].transpose(1, 2), out=d_x[:, :, part])
        product = torch.mul(d_read[:, :, part].transpose(1, 2), read[:, :, part].transpose(1, 2), out=d_y)
        torch.sum(product.addcmul_(d_scaled, written.view(d_y.shape), value=-1), -1, out=d_decays[:, part])
    d_decays[:, :, 0, -1] += d_left[:, 1:]
    d_state = d_current.unflatten(2, (heads, p)).permute(0, 2, 3, 1) * entry
    return d_x.to(ctx.kind), d_decays, d_keys.to(ctx.kind), d_queries.to(ctx.kind), d_state, None


def _largest_exponent(dtype: torch.dtype) -> float:
    """Log of the largest factor, 40 in float32: values times two of them stay in range, or nearly."""
    return 0.45 * math.log(torch.finfo(dtype).max)


def _groups(chunks: int, numbers: int) -> list[slice]:
    """Cuts the chunks, of so many numbers each, in groups that are cached."""
    size = max(1, CACHED_NUMBERS // max(1, numbers))
    return [slice(i, min(i + size, chunks)) for i in range(0, chunks, size)]


def _rows(v: Tensor, dtype: torch.dtype) -> Tensor:
    """One row a token: `[g s c l n] -> [(g c) (s l) n]`."""
    return v.transpose(1, 2).reshape(v.shape[0] * v.shape[2], -1, v.shape[-1]).to(dtype)
