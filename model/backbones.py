"""The systems that long-memory video models are compared with, each a change of the same config.

| name | layers have | source |
|---|---|---|
| `lssvwm` | block-wise scan, then attention to the last k frames | arXiv:2505.20171 |
| `mamba2` | one scan over all tokens of all frames | its baseline "Mamba2" |
| `mamba2_local` | the same, then attention to the last k frames | its baseline "Mamba2 + Frame Local Attn" |
| `causal` | attention to all frames before: what is kept grows with time | its baseline "Causal", full context |
| `causal_window` | attention to a limited context, three times as long as k | its baseline "Causal", 192 frames |
| `dfot` | attention to all of 25 frames, later ones too; cannot step | its baseline "DFoT", arXiv:2502.06764 |
| `videossm` | attention to the last k frames and the first, and a delta-rule state of the others | arXiv:2512.04519 |
| `lssvwm_block1` | block-wise scan with one token a block in all layers | its ablation "block size 1" |

All have the same width, conditioning and heads. As in the paper the number of layers makes their sizes equal; because
ours are small and layers whole, their MLPs may be one width wider or narrower, too. What they keep differs: see
`experiments/efficiency.py`. All can be trained alike, except that `dfot` needs `diffusion_forcing`.

Time enters attention as a bias that falls with a frame's age. Where attention is what remembers, the farthest looking
head must not lose interest: its span is 1,000 frames there.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import torch

from model.config import LSSVWMConfig
from model.lssvwm import LSSVWM

BackboneName = Literal[
    "lssvwm", "mamba2", "mamba2_local", "causal", "causal_window", "dfot", "videossm", "lssvwm_block1"
]
LIMITED_CONTEXT = 3
"""`causal_window` sees so many times the frames that `lssvwm`'s attention does."""
DFOT_CONTEXT = 25
"""Frames that `dfot` works out together, the one to be dreamed among them (arXiv:2505.20171 S2)."""
FAR = 1000

_CHANGES: dict[str, Callable[[LSSVWMConfig], dict[str, Any]]] = {
    "lssvwm": lambda c: {},
    "mamba2": lambda c: {"block_sizes": ((c.tokens_per_side,) * 2,), "attention": "none"},
    "mamba2_local": lambda c: {"block_sizes": ((c.tokens_per_side,) * 2,)},
    "causal": lambda c: {"scan": False, "attention": "full", "attention_span": FAR},
    "causal_window": lambda c: {
        "scan": False, "attention_window": LIMITED_CONTEXT * c.attention_window, "attention_span": FAR,
    },
    "dfot": lambda c: {
        "scan": False, "attention": "bidirectional", "attention_window": DFOT_CONTEXT, "attention_span": FAR,
    },
    "videossm": lambda c: {"scan": False, "attention": "hybrid", "sink_frames": 1},
    "lssvwm_block1": lambda c: {"block_sizes": ((1, 1),)},
}  # fmt: skip


def with_backbone(config: LSSVWMConfig, name: str) -> LSSVWMConfig:
    """The config of a named system, of the size of an LSSVWM.

    Args:
        config: of the LSSVWM.
        name: of the system.

    Returns:
        The config whose number of parameters is nearest.

    Raises:
        ValueError: there is no system of that name.
    """
    if name not in _CHANGES:
        raise ValueError(f"backbone = {name!r} given, expected one of {list(get_args(BackboneName))}.")
    changed = replace(config, **_CHANGES[name](config))
    if changed == config:
        return config
    wanted = count_parameters(config)
    fitted = [_as_large(replace(changed, mlp_ratio=max(1, config.mlp_ratio + more)), wanted) for more in (0, 1, -1)]
    return min(fitted, key=lambda c: abs(count_parameters(c) - wanted))


def _as_large(config: LSSVWMConfig, wanted: int) -> LSSVWMConfig:
    """The config with the number of layers that brings it nearest to the wanted number of parameters."""
    base, two = (count_parameters(replace(config, layers=layers)) for layers in (1, 2))
    return replace(config, layers=max(1, 1 + round((wanted - base) / (two - base))))


def count_parameters(config: LSSVWMConfig) -> int:
    """Parameters of a model, tokenizer not counted."""
    with torch.device("meta"):
        return sum(p.numel() for p in LSSVWM(config).parameters())
