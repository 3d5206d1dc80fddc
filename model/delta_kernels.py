"""fla's CUDA kernel of the gated delta rule behind `model.delta_rule`, used when the package and a GPU are there.

fla is flash-linear-attention (github.com/fla-org/flash-linear-attention). Its kernel returns what queries read and the
final state, but no state in between: it can serve `delta_final`, not `delta_states`.

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


@cache
def _kernels() -> ModuleType | None:
    if find_spec("fla") is None or not torch.cuda.is_available():
        return None
    return import_module("fla.ops.gated_delta_rule")


def usable(keys: Tensor, values: Tensor, state: Tensor) -> bool:
    """Whether the kernel can take these tensors: they lie on a GPU, fla is installed, and types and sizes suit it.

    Keys and values must be of one half precision type (fla has refused float32) and the state float32. With fewer
    tokens than heads fla warns of swapped axes, and a kernel gains little: those stay with the own products.
    """
    half = keys.dtype == values.dtype and keys.dtype in (torch.bfloat16, torch.float16)
    _, frames, q, heads, e = keys.shape
    fits = half and state.dtype == torch.float32 and e <= LARGEST_KEY and frames * q >= heads
    return keys.is_cuda and fits and _kernels() is not None


def final_state(keys: Tensor, values: Tensor, log_decay: Tensor, beta: Tensor, state: Tensor) -> Tensor:
    """Computes the last of `model.delta_rule.delta_states` with `chunk_gated_delta_rule`.

    fla's state has keys before values, ours values before keys. What its queries read is thrown away; the keys stand
    in for them. Inside, the kernel multiplies in the type of the keys: expect their precision, not float32's.

    Raises:
        RuntimeError: fla or a CUDA device is missing.
    """
    kernels = _kernels()
    if kernels is None:
        raise RuntimeError("fla's kernel was asked for, but the package or a CUDA device is missing.")
    k, v = (rearrange(x, "b t q heads e -> b (t q) heads e").contiguous() for x in (keys, values))
    decay, share = (rearrange(x, "b t q heads -> b (t q) heads").contiguous() for x in (log_decay, beta))
    _, final = kernels.chunk_gated_delta_rule(
        q=k,
        k=k,
        v=v,
        g=decay.float(),
        beta=share.to(k.dtype),
        initial_state=state.mT.contiguous(),
        output_final_state=True,
    )
    after: Tensor = final.mT
    return after
