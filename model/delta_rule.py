"""The gated delta rule, frame by frame: a memory that replaces what it held under a key.

    S_i = exp(a_i) S_{i-1} (I - beta_i k_i k_i^T) + beta_i v_i k_i^T

that is: the state S decays, then what it recalls under the key k_i moves by the share beta_i towards the value v_i.
Letters as in arXiv:2412.06464 (Eq. 10), whose alpha_i is our exp(a_i). VideoSSM (arXiv:2512.04519) remembers with it
the tokens that its attention window drops. Keys have length 1; the caller normalises them. A token with beta = 0 and
a = 0 leaves the state as it is: so tokens are skipped.

`delta_reference` is the definition, a loop over tokens. `delta_states` computes the same with matrix products, a frame
at a time. Both return the state before every frame, so that each frame can read its own past: `delta_read` reads it.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from model import delta_kernels

DeltaQueries = Float[Tensor, "b s t q heads e"]
DeltaRead = Float[Tensor, "b s t q heads p"]
DeltaKeys = Float[Tensor, "b t q heads e"]
DeltaValues = Float[Tensor, "b t q heads p"]
DeltaGate = Float[Tensor, "b t q heads"]
DeltaState = Float[Tensor, "b heads p e"]
DeltaStates = Float[Tensor, "b t+1 heads p e"]


def delta_reference(
    keys: DeltaKeys, values: DeltaValues, log_decay: DeltaGate, beta: DeltaGate, state: DeltaState
) -> DeltaStates:
    """Runs the rule token by token: the slow definition that the other routes are tested against.

    Args:
        keys: where in the state a token writes, of length 1.
        values: what it writes there.
        log_decay: how fast everything is forgotten, per token and head, at most 0.
        beta: share of what was held under the key that is replaced, in [0, 1].
        state: what was remembered before the first frame.

    Returns:
        The state before each frame and, last, after the last frame; in the state's type, float32 at least.

    Source: arXiv:2412.06464, Eq. 10.
    """
    dtype = _state_dtype(state)
    keys, values, log_decay, beta, state = (v.to(dtype) for v in (keys, values, log_decay, beta, state))
    states = [state]
    for t in range(keys.shape[1]):
        for i in range(keys.shape[2]):
            key = keys[:, t, i, :, None, :]
            state = log_decay[:, t, i, :, None, None].exp() * state
            missing = values[:, t, i] - (state * key).sum(-1)
            state = state + (beta[:, t, i, :, None] * missing)[..., None] * key
        states.append(state)
    return torch.stack(states, dim=1)


def delta_states(
    keys: DeltaKeys, values: DeltaValues, log_decay: DeltaGate, beta: DeltaGate, state: DeltaState
) -> DeltaStates:
    """Computes `delta_reference` with matrix products, a frame as one chunk.

    A frame acts on the state that it meets as `S -> S M + A`. Every frame's M and A come from one triangular solve
    (the UT transform) before the loop over frames, in which a single product remains. Log decays are masked, then
    summed between every two tokens on their own, then exponentiated: nothing overflows, and a strong decay does not
    swallow the weak ones after it. All of it runs in float32 (float64 if the state is), also under autocast.

    Args:
        keys: where in the state a token writes, of length 1.
        values: what it writes there.
        log_decay: how fast everything is forgotten, per token and head, at most 0; `-inf` forgets all.
        beta: share of what was held under the key that is replaced, in [0, 1].
        state: what was remembered before the first frame.

    Returns:
        The state before each frame and, last, after the last frame; in the state's type, float32 at least.

    Source: arXiv:2412.06464, section 3.3. Deviation: frames are the chunks, and each chunk's M is multiplied out.
    That keeps the loop short, and with values as wide as keys is less work in all from frames of e tokens on.
    """
    batch, dtype = keys.shape[0], _state_dtype(state)
    with torch.autocast(keys.device.type, enabled=False):
        k, v = (rearrange(x, "b t q heads e -> t (b heads) q e").to(dtype) for x in (keys, values))
        a, share = (rearrange(x, "b t q heads -> t (b heads) q").to(dtype) for x in (log_decay, beta))
        survival = _survival(a)

        # (I + overlap) replaced = beta (v - exp(decay since the frame's start) S k): its parts without S and before S
        overlap = share[..., None] * survival[..., 1:] * (k @ k.mT)
        wanted = share[..., None] * torch.cat([v, survival[..., :1] * k], dim=-1)
        replaced = torch.linalg.solve_triangular(overlap, wanted, upper=False, unitriangular=True)

        # what is left of both at the frame's end
        added, removed = (replaced.mT @ (survival[..., -1, 1:, None] * k)).split([v.shape[-1], k.shape[-1]], dim=-2)
        identity = torch.eye(k.shape[-1], dtype=dtype, device=k.device)
        kept = survival[..., -1, :1, None] * identity - removed

        states = [rearrange(state, "b heads p e -> (b heads) p e").to(dtype)]
        for frame_kept, frame_added in zip(kept.unbind(), added.unbind(), strict=True):
            states.append(torch.baddbmm(frame_added, states[-1], frame_kept))
    return rearrange(torch.stack(states), "t (b heads) p e -> b t heads p e", b=batch)


def delta_read(
    queries: DeltaQueries,
    keys: DeltaKeys,
    values: DeltaValues,
    log_decay: DeltaGate,
    beta: DeltaGate,
    state: DeltaState,
    remember: bool = True,
) -> tuple[DeltaRead, DeltaState]:
    """What the queries of each frame read in the state before that frame, and the state after the last.

    On a GPU with fla installed its kernel computes this under autocast, or for values of half precision (see
    `model.delta_kernels`, also for what is not tested there). All else is `delta_states` and a product in float32
    (float64 if the state is), also under autocast.

    Args:
        queries: what each frame's tokens ask for, in any number of streams s; they change nothing.
        keys: where in the state a token writes, of length 1.
        values: what it writes there.
        log_decay: how fast everything is forgotten, per token and head, at most 0; finite on the kernel's route.
        beta: share of what was held under the key that is replaced, in [0, 1].
        state: what was remembered before the first frame.
        remember: whether the state after the last frame is wanted. Without it a single frame is one product.

    Returns:
        What was read, in the state's type, float32 at least, and the state after the last frame: in the same type,
        or as given without `remember`.
    """
    frames = keys.shape[1]
    if frames == 1 and not remember:
        states = state[:, None].to(_state_dtype(state))
    elif delta_kernels.usable(queries, keys, values, state):
        return delta_kernels.read(queries, keys, values, log_decay, beta, state, remember)
    else:
        written = frames if remember else max(frames - 1, 0)
        keys, values, log_decay, beta = (v[:, :written] for v in (keys, values, log_decay, beta))
        states = delta_states(keys, values, log_decay, beta, state)
    with torch.autocast(keys.device.type, enabled=False):
        read = torch.einsum("bstqhe,bthpe->bstqhp", queries.to(states.dtype), states[:, :frames])
    return read, states[:, -1] if remember else state


def _survival(log_decay: Tensor) -> Tensor:
    """What is left after token i (rows) of the state at the frame's start (column 0) and of token j (column j + 1).

    For tokens j after i there stands a 1, which the triangular solve does not read.
    """
    q = log_decay.shape[-1]
    counts = torch.ones(q, q + 1, dtype=torch.bool, device=log_decay.device).tril()
    return log_decay[..., None].masked_fill(~counts, 0).cumsum(-2).exp()


def _state_dtype(state: Tensor) -> torch.dtype:
    return torch.promote_types(state.dtype, torch.float32)
