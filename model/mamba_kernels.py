"""mamba-ssm's CUDA kernels behind the interface of `model.ssm`, used when the package and a GPU are there."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from einops import rearrange
from torch import Tensor


@cache
def _kernels() -> ModuleType | None:
    if find_spec("mamba_ssm") is None or not torch.cuda.is_available():
        return None
    return import_module("mamba_ssm.ops.triton.ssd_combined")


def usable(x: Tensor) -> bool:
    """Whether the kernels can scan this tensor: it lies on a GPU and mamba-ssm is installed."""
    return x.is_cuda and _kernels() is not None


def scan(x: Tensor, a: Tensor, b_in: Tensor, c_out: Tensor, state: Tensor, chunk_tokens: int) -> tuple[Tensor, Tensor]:
    """Computes `model.ssm.chunked_scan` of one stream with `mamba_chunk_scan_combined`.

    mamba-ssm takes the step size and the rate apart and multiplies them itself. We hand it a step of `-a`, a rate of
    -1 and values divided by that step, which restores `x` and `a`.
    """
    kernels = _kernels()
    if kernels is None:
        raise RuntimeError("mamba-ssm's kernels were asked for, but the package or a CUDA device is missing.")
    frames, m = x.shape[2:4]
    step = rearrange(-a[:, 0], "g t m heads -> g (t m) heads").float().clamp_min(1e-12)
    values = rearrange(x[:, 0], "g t m heads p -> g (t m) heads p") / step[..., None].to(x.dtype)
    y, final = kernels.mamba_chunk_scan_combined(
        values.to(x.dtype),
        step,
        -torch.ones(step.shape[-1], device=x.device),
        rearrange(b_in[:, 0], "g t m n -> g (t m) 1 n").contiguous(),
        rearrange(c_out[:, 0], "g t m n -> g (t m) 1 n").contiguous(),
        chunk_size=chunk_tokens,
        initial_states=state,
        return_final_states=True,
    )
    return rearrange(y, "g (t m) heads p -> g 1 t m heads p", t=frames, m=m), final
