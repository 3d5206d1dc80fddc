"""The state-space recurrence (SSD, Mamba-2): one recurrence by several routes.

    S_i = exp(a_i) S_{i-1} + x_i B_i^T        y_i = S_i C_i

`x` here is Mamba-2's `dt * x` and `a` its `dt * A`: the caller folds the step size in. Letters as in arXiv:2405.21060
(state `S` of shape (P, N) per head; B and C shared by all heads, i.e. ngroups = 1).

`scan_reference` is the definition, a loop. `chunked_scan` computes the same with matrix products, a chunk of tokens at
a time: on a GPU by `model.mamba_kernels`, if they are there; in training on a processor by `model.factored_scan`, where
what a chunk decays can be factored; else with a weight for every head and pair of tokens, which suits any decay. It can
carry a second, read-only stream: the tokens of frame t in stream 1 see the state that stream 0 left after frame t - 1,
and each other, but neither write nor decay it. One pass so predicts every frame from its own clean past. A chunk of one
frame with a carried state is one environment step; there is no loop then.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from model import mamba_kernels
from model.factored_scan import bounded_decays, factored_scan, fits, reading_weights, summed_decays

ScanInput = Float[Tensor, "g s t m heads p"]
ScanDecay = Float[Tensor, "g s t m heads"]
ScanGate = Float[Tensor, "g s t m n"]
ScanState = Float[Tensor, "g heads p n"]

SHORTEST = 6
"""Tokens of a chunk below which factoring no longer pays: there are too many states."""


def scan_reference(
    x: ScanInput, a: ScanDecay, b_in: ScanGate, c_out: ScanGate, state: ScanState
) -> tuple[ScanInput, ScanState]:
    """Runs the recurrence token by token: the slow definition that the other routes are tested against.

    Args:
        x: values to write, already multiplied by the step size.
        a: log decay per token, at most 0.
        b_in: where in the state a token writes.
        c_out: where in the state a token reads.
        state: what was remembered before the first frame.

    Returns:
        What each token of each stream reads, and the state after the last frame of stream 0.
    """
    outputs = []
    for t in range(x.shape[2]):
        frame_start = state
        read = []
        for s in range(x.shape[1]):
            running = frame_start
            for i in range(x.shape[3]):
                written = x[:, s, t, i, :, :, None] * b_in[:, s, t, i, None, None, :]
                running = a[:, s, t, i, :, None, None].exp() * running + written
                read.append(torch.einsum("ghpn,gn->ghp", running, c_out[:, s, t, i]))
            if s == 0:
                state = running
        outputs.append(rearrange(torch.stack(read), "(s m) g heads p -> g s m heads p", s=x.shape[1]))
    return torch.stack(outputs, dim=2), state


def chunked_scan(
    x: ScanInput,
    a: ScanDecay,
    b_in: ScanGate,
    c_out: ScanGate,
    state: ScanState,
    chunk_tokens: int,
    remember: bool = True,
) -> tuple[ScanInput, ScanState]:
    """Computes `scan_reference` with matrix products over chunks of whole frames.

    Decay, its cumulative sum and the state stay in float32 (or float64 if that is given) whatever `x` is. On a
    processor, where gradients are recorded, more than one chunk are factored: those that decay too much for it are
    halved, down to six tokens or one frame, and if these still do, all are computed with the decay of each pair of
    tokens, as one chunk always is. Which it is depends on the whole sequence, and they differ in the last digits:
    without gradients no later token changes an earlier output by a bit, with them by no more than rounding.

    Args:
        x: values to write, already multiplied by the step size.
        a: log decay per token, at most 0.
        b_in: where in the state a token writes.
        c_out: where in the state a token reads.
        state: what was remembered before the first frame.
        chunk_tokens: tokens per chunk aimed at; at least one frame, at most the sequence, is taken, on a processor
            less where decays are strong.
        remember: without it the state after the last frame need not be worked out: half the time of a denoising step.

    Returns:
        What each token of each stream reads, and the state after the last frame of stream 0 (without `remember`, a
        state that is not to be used).
    """
    streams, frames, m = x.shape[1:4]
    if mamba_kernels.usable(x) and streams == 1:
        return mamba_kernels.scan(x, a, b_in, c_out, state, chunk_tokens)
    chunks = -(-frames // max(1, chunk_tokens // m))
    chunk = -(-frames // chunks)  # as long as each other: less to pad
    a = bounded_decays(a, state.dtype)
    # for one chunk there is less to do than to factor; and to ask what fits would wait for a GPU
    trains = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    if chunks > 1 and trains and x.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):
            size = chunk
            while size * m >= SHORTEST:
                reads = reading_weights(streams, size, m, state)
                decays = summed_decays(_chunks(a, size).flatten(3, 4), reads)
                if fits(decays):
                    values, writes, queries = (_chunks(v, size).flatten(3, 4) for v in (x, b_in, c_out))
                    y, state = factored_scan(values, decays, writes, queries, state, reads)
                    return y.flatten(2, 3).unflatten(2, (-1, m))[:, :, :frames].to(x.dtype), state
                size //= 2
    return _paired_scan(x, a, b_in, c_out, state, chunk, remember)


def _paired_scan(
    x: ScanInput, a: ScanDecay, b_in: ScanGate, c_out: ScanGate, state: ScanState, chunk: int, remember: bool
) -> tuple[ScanInput, ScanState]:
    """`chunked_scan` by the decay from each token to each, masked before it is exponentiated: no entry overflows."""
    streams, frames, m = x.shape[1:4]
    x, a, b_in, c_out = (_chunks(v, chunk) for v in (x, a, b_in, c_out))

    # c chunks of l = chunk * m tokens; the decay from the chunk's start up to and including a token, per stream
    xs, decays_in, b_ins = (v.unbind(1) for v in (x, a, b_in))
    written_decay = rearrange(decays_in[0], "g c t m heads -> g c heads (t m)").cumsum(-1)
    chunk_decay = written_decay[..., -1]
    decays = [written_decay]
    if streams == 2:
        frame_ends = rearrange(written_decay, "g c heads (t m) -> g c heads t m", m=m)[..., -1]
        before_frame = torch.nn.functional.pad(frame_ends[..., :-1], (1, 0))
        within_frame = rearrange(decays_in[1], "g c t m heads -> g c heads t m").cumsum(-1)
        decays.append(rearrange(before_frame[..., None] + within_frame, "g c heads t m -> g c heads (t m)"))
    decay = torch.cat(decays, dim=-1)

    written = rearrange(xs[0], "g c t m heads p -> g c heads (t m) p")
    keys = rearrange(b_ins[0], "g c t m n -> g c (t m) n")
    queries = rearrange(c_out, "g s c t m n -> g c (s t m) n")
    allowed = _reading_mask(streams, chunk, m, x.device)
    exponent = decay[..., :, None] - written_decay[..., None, :]
    weight = exponent.masked_fill(~allowed, -torch.inf).exp() * (queries @ keys.mT)[:, :, None]
    y = weight.to(written.dtype) @ written
    if streams == 2:
        y = y + torch.nn.functional.pad(_own_frame(xs[1], within_frame, b_ins[1], c_out[:, 1]), (0, 0, chunk * m, 0))

    # what each chunk adds to the state, then the state at each chunk's start
    chunks = written.shape[1]
    updates = chunks if remember else chunks - 1
    kept = (chunk_decay[:, :updates, :, None] - written_decay[:, :updates]).exp()[..., None] * written[:, :updates]
    added = torch.einsum("gchlp,gcln->gchpn", kept, keys[:, :updates].to(kept.dtype))
    survival = chunk_decay.exp()[..., None, None]
    starts = [state]
    # unbound, because the gradient of an index is as large as what it was taken from, once for each chunk
    for new, left in zip(added.unbind(1), survival[:, :updates].unbind(1), strict=True):
        state = torch.addcmul(new, left, state)
        starts.append(state)
    starts = starts[:chunks]
    before = torch.stack(starts, dim=1)
    carried = torch.einsum("gcqn,gchpn->gchqp", queries.to(before.dtype), before)
    y = y + decay.exp()[..., None] * carried
    y = rearrange(y, "g c heads (s t m) p -> g s (c t) m heads p", s=streams, m=m)
    return y[:, :, :frames].to(x.dtype), state


def _own_frame(x: Tensor, decay: Tensor, b_in: Tensor, c_out: Tensor) -> Tensor:
    """What the read-only tokens read from the tokens before them in their own frame and stream."""
    exponent = rearrange(decay, "g c heads t m -> g c t heads m 1") - rearrange(
        decay, "g c heads t m -> g c t heads 1 m"
    )
    causal = torch.ones(exponent.shape[-2:], dtype=torch.bool, device=x.device).tril()
    weight = exponent.masked_fill(~causal, -torch.inf).exp() * (c_out @ b_in.mT)[:, :, :, None]
    y = weight.to(x.dtype) @ rearrange(x, "g c t m heads p -> g c t heads m p")
    return rearrange(y, "g c t heads m p -> g c heads (t m) p")


def _reading_mask(streams: int, frames: int, m: int, device: torch.device) -> Tensor:
    """Which written tokens (columns) a token (rows, both streams) reads: earlier ones; stream 1 only earlier frames."""
    token = torch.arange(frames * m, device=device)
    rows = [token[:, None] >= token]
    if streams == 2:
        rows.append(token[:, None] // m > token // m)
    return torch.cat(rows)


def _chunks(v: Tensor, frames: int) -> Tensor:
    """Cuts the frames in chunks; zero input and zero log decay at the end leave the state as it is."""
    padding = -v.shape[2] % frames
    if padding:
        v = torch.nn.functional.pad(v, (0, 0) * (v.dim() - 3) + (0, padding))
    cut: Tensor = v.unflatten(2, (-1, frames))
    return cut
