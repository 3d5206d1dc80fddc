"""Block-wise scan: cut the token grid in (bh, bw) blocks and run one state-space memory per block through time.

Tokens of a block at frame t are `bh * bw` scan positions away from the same place at frame t + 1, where one scan over
all tokens would put them a whole frame away: small blocks remember longer, large blocks mix more space
(arXiv:2505.20171 section 4.1, Fig. 3). Inside a block the order is row-major.

The mixer is Mamba-2's (arXiv:2405.21060): gate `z`, value `x`, `B`, `C` and step size from one projection, SiLU on `B`
and `C`, gated norm, output projection. Declared deviations: no short convolution (frame-local attention mixes
neighbours, and memory stays one tensor a layer), and no SiLU on `x`; LayerNorm for RMSNorm (one fused call on a
processor); step sizes start `bh * bw` times smaller, so that time constants are in frames, not tokens; `B` and `C`
start with equal weights, so that a token first reads what tokens like it wrote.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.axes import Tokens
from model.config import BlockSize, LSSVWMConfig
from model.joint_linear import JointLinear
from model.ssm import chunked_scan

WRITES, READS = 2, 3
"""Which of a scan's projections are B and C."""
BlockStates = Float[Tensor, "b blocks scan_heads p n"]


class BlockScan(nn.Module):
    """The memory of one layer: an independent state-space scan for every spatial block."""

    def __init__(self, config: LSSVWMConfig, block_size: BlockSize) -> None:
        """Projections and per-head rates.

        Args:
            config: widths and sizes.
            block_size: the paper's (b_h, b_w), in tokens.
        """
        super().__init__()
        self.side, self.block_size = config.tokens_per_side, block_size
        self.heads, self.state_size, self.chunk_tokens = config.scan_heads, config.scan_state, config.scan_chunk_tokens
        self.activation = nn.SiLU() if config.scan_activation else nn.Identity()
        width = config.width
        self.project = JointLinear(width, [width, width, config.scan_state, config.scan_state, self.heads])
        with torch.no_grad():  # a fresh network finds what it wrote
            self.project.rows(READS).copy_(self.project.rows(WRITES))
        self.log_rate = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        per_frame = block_size[0] * block_size[1]
        step = torch.empty(self.heads).uniform_(math.log(1e-3), math.log(1e-1)).exp() / per_frame
        self.step_bias = nn.Parameter(torch.log(torch.expm1(step)))
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.LayerNorm(width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    @property
    def blocks(self) -> int:
        """Blocks that tile a frame."""
        return self.side**2 // (self.block_size[0] * self.block_size[1])

    def forward(self, tokens: Tokens, states: BlockStates, remember: bool = True) -> tuple[Tokens, BlockStates]:
        """Mixes each token with what its block remembers.

        Args:
            tokens: stream 0 is read and written in order; stream 1, if present, only reads.
            states: each block's memory before the first frame.
            remember: whether the memory after the last frame is wanted.

        Returns:
            The mixed tokens, and each block's memory after the last frame of stream 0.
        """
        z, x, b_in, c_out, step = self.project.split(self.project(tokens))
        step = nn.functional.softplus(step.float() + self.step_bias)
        x = rearrange(x, "... (heads p) -> ... heads p", heads=self.heads)
        decay = -step * self.log_rate.exp()
        y, states = chunked_scan(
            self._fold(x * step[..., None].to(x.dtype)),
            self._fold(decay),
            self._fold(self.activation(b_in)),
            self._fold(self.activation(c_out)),
            rearrange(states, "b blocks ... -> (b blocks) ..."),
            self.chunk_tokens,
            remember,
        )
        y = self._unfold(y) + self.skip[:, None].to(x.dtype) * x
        y = rearrange(y, "... heads p -> ... (heads p)")
        y = self.out(self.norm(y * nn.functional.silu(z)))
        return y, rearrange(states, "(b blocks) ... -> b blocks ...", blocks=self.blocks)

    def _fold(self, v: Tensor) -> Tensor:
        """Folds blocks into the batch: `[b s t (gh bh gw bw) ...] -> [(b gh gw) s t (bh bw) ...]`."""
        bh, bw = self.block_size
        pattern = "b s t (gh bh gw bw) ... -> (b gh gw) s t (bh bw) ..."
        return rearrange(v, pattern, gh=self.side // bh, bh=bh, gw=self.side // bw, bw=bw)

    def _unfold(self, v: Tensor) -> Tensor:
        bh, bw = self.block_size
        pattern = "(b gh gw) s t (bh bw) ... -> b s t (gh bh gw bw) ..."
        return rearrange(v, pattern, gh=self.side // bh, bh=bh, gw=self.side // bw, bw=bw)
