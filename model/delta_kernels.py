"""fla's CUDA kernel of the gated delta rule behind `model.delta_rule`, used when the package and a GPU are there.

fla is flash-linear-attention (github.com/fla-org/flash-linear-attention). Its kernel returns what each token reads in
the state after its own write, and the final state, but no state in between. So the queries of a frame go before what
the frame writes, as tokens that write and forget nothing: what they read is the state before the frame.

Not run on a GPU so far: what it is handed follows the source of fla-core 0.6.0 and is tested with a stand-in.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from einops import rearrange
from torch import Tensor

LARGEST_KEY = 256
"""Channels of a key that the kernel can take."""

HALF = (torch.bfloat16, torch.float16)
"""Types that the kernel multiplies in; it refuses float32."""


@cache
def _kernels() -> ModuleType | None:
    if find_spec("fla") is None or not torch.cuda.is_available():
        return None
    return import_module("fla.ops.gated_delta_rule")


def usable(queries: Tensor, keys: Tensor, values: Tensor, state: Tensor) -> bool:
    """Whether the kernel can take these tensors: they lie on a GPU, fla is installed, and types and sizes suit it.

    Only under autocast, or for values of half precision: what is asked for in float32 stays float32. With fewer tokens
    than heads fla warns of swapped axes, and a kernel gains little: those stay with the own products.
    """
    _, streams, frames, q, heads, e = queries.shape
    mixed = values.dtype in HALF or torch.is_autocast_enabled(values.device.type)
    types = mixed and torch.float64 not in (queries.dtype, keys.dtype, values.dtype) and state.dtype == torch.float32
    fits = types and e <= LARGEST_KEY and frames * (streams + 1) * q >= heads
    return keys.is_cuda and fits and _kernels() is not None


def read(
    queries: Tensor, keys: Tensor, values: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor, remember: bool = True
) -> tuple[Tensor, Tensor]:
    """Computes `model.delta_rule.delta_read` with `chunk_gated_delta_rule`.

    One sequence holds, for every frame, the queries `[s q]` of all streams and then the `[q]` tokens that it writes.
    fla's state has keys before values, ours values before keys. The kernel multiplies in half precision: in the type
    of the inputs where all have the same such type, else in bfloat16. Expect that precision, not float32's; what was
    read comes back as float32. Log decays must be finite, as the kernel subtracts their sums.

    Raises:
        RuntimeError: fla or a CUDA device is missing.
    """
    kernels = _kernels()
    if kernels is None:
        raise RuntimeError("fla's kernel was asked for, but the package or a CUDA device is missing.")
    same = queries.dtype == keys.dtype == values.dtype and keys.dtype in HALF
    dtype = keys.dtype if same else torch.bfloat16
    asking = rearrange(queries, "b s t q heads e -> b t (s q) heads e")
    asked, wrote = asking.shape[2], keys.shape[2]
    found, final = kernels.chunk_gated_delta_rule(
        q=_sequence(asking.to(dtype), after=wrote),
        k=_sequence(keys.to(dtype), before=asked),
        v=_sequence(values.to(dtype), before=asked),
        g=_sequence(log_decay.float(), before=asked),
        beta=_sequence(beta.to(dtype), before=asked),
        scale=1.0,
        initial_state=state.mT.contiguous(),
        output_final_state=remember,
    )
    found = found.unflatten(1, (-1, asked + wrote))[:, :, :asked].float()
    return rearrange(found, "b t (s q) heads p -> b s t q heads p", s=queries.shape[1]), final.mT if remember else state


def _sequence(tokens: Tensor, before: int = 0, after: int = 0) -> Tensor:
    """Tokens `[b t q heads ...]` of all frames in a row, with so many zeros before and after those of each frame."""
    padding = [0] * (2 * (tokens.dim() - 3))
    return torch.nn.functional.pad(tokens, [*padding, before, after]).flatten(1, 2).contiguous()
