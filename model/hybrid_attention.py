"""VideoSSM's hybrid memory: attention to a window and to the first frames, and a state that takes in what leaves it.

Source: arXiv:2512.04519. Tokens that the window drops are written into a state by the gated delta rule
(`model.delta_rule`), under the gates that were worked out when they came in and have waited beside their keys and
values since (the "synchronized gate cache"). Each frame reads window, sinks and state; a router adds what it read in
the state with a weight that grows with the frames seen, as there is more to remember:

    beta = sigmoid(W_b H)      alpha = -exp(A) softplus(W_a H + B)
    H_global = swish(W_g H * RMSNorm(Q M))      gamma_t = sigmoid(w log((t + 1) / T) + b)
    H = H_local + gamma_t H_global

Declared deviations: gates per head; keys of the state are of length 1, and beta scales what is written as well as what
it replaces, as in arXiv:2412.06464; the window is that of Eq. 6 of arXiv:2505.20171, k frames and the present one; T is
k and not the length of the video, which has no end here; time enters the window as a bias (`model.local_attention`),
and a sink counts as just beyond it.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.axes import Tokens
from model.config import LSSVWMConfig
from model.delta_rule import delta_read
from model.joint_linear import JointLinear
from model.local_attention import Ring, WindowPlan, frame_local_attention

HybridState = Float[Tensor, "b 1 heads p e"]


class HybridAttention(nn.Module):
    """Local attention with sinks, a delta-rule memory of what it drops, and the router between them."""

    def __init__(self, config: LSSVWMConfig) -> None:
        """Projections, gates and router."""
        super().__init__()
        width, self.heads = config.width, config.attention_heads
        self.window, self.sinks = config.attention_window, config.sink_frames
        self.project = JointLinear(width, [width] * 4 + [self.heads] * 2)
        self.query_norm = nn.LayerNorm(width // self.heads, bias=False)
        self.key_norm = nn.LayerNorm(width // self.heads, bias=False)
        self.log_rate = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        step = torch.logspace(-4, -2, self.heads)  # time constants from some to thousands of frames, in tokens
        self.step_bias = nn.Parameter(torch.log(torch.expm1(step / config.tokens)))
        self.read_norm = nn.RMSNorm(width // self.heads)
        self.router_slope = nn.Parameter(torch.ones(width))
        self.router_bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        tokens: Tokens,
        ring: tuple[Ring, ...],
        state: HybridState,
        plan: WindowPlan,
        seen: Int[Tensor, " b"],
        remember: bool = True,
    ) -> tuple[Tokens, tuple[Ring, ...], HybridState]:
        """Mixes tokens with what is in sight and with what is not any more.

        Args:
            tokens: stream 0 is remembered; stream 1, if present, only reads.
            ring: keys, values and gates of the sink frames and, after them, of the last frames.
            state: what frames that left the ring have written.
            plan: of the window.
            seen: frames taken in before.
            remember: whether the memory after the last frame is wanted.

        Returns:
            The mixed tokens, and ring and state after the last frame of stream 0.
        """
        q, k, v, out_gate, beta, step = self.project.split(self.project(tokens))
        q, k, v = (rearrange(x, "... (heads e) -> ... heads e", heads=self.heads) for x in (q, k, v))
        q, k = self.query_norm(q), self.key_norm(k)
        decay = -nn.functional.softplus(step.float() + self.step_bias) * self.log_rate.exp()
        gates = torch.stack([decay.to(v.dtype), beta.sigmoid()], dim=-1)

        frames = tokens.shape[2]
        came = (k[:, 0], v[:, 0], gates[:, 0])
        sinks = tuple(self._sinks(old, new, seen) for old, new in zip(ring, came, strict=True))
        window = tuple(torch.cat([old[:, self.sinks :], new], 1) for old, new in zip(ring, came, strict=True))
        local_ring = (ring[0][:, self.sinks :], ring[1][:, self.sinks :])
        first = (sinks[0], sinks[1]) if self.sinks else None
        local, _ = frame_local_attention(q, k, v, local_ring, plan, first)

        left = tuple(x[:, :frames] for x in window)
        read, last = self._read(q, left, state[:, 0], seen, remember)
        read = nn.functional.silu(out_gate.float() * rearrange(self.read_norm(read), "... heads p -> ... (heads p)"))
        at = (seen[:, None] + torch.arange(1, frames + 1, device=seen.device)).float()
        gamma = torch.sigmoid(self.router_slope * (at / self.window).log()[..., None] + self.router_bias)
        mixed = rearrange(local, "... heads e -> ... (heads e)") + (gamma[:, None, :, None] * read).to(v.dtype)
        if not remember:
            return self.out(mixed), ring, state
        after = tuple(torch.cat([s, w[:, frames:]], 1) for s, w in zip(sinks, window, strict=True))
        return self.out(mixed), after, last[:, None]

    def _read(
        self, q: Tensor, left: tuple[Tensor, ...], state: Tensor, seen: Tensor, remember: bool
    ) -> tuple[Tensor, Tensor]:
        """What each frame reads in its state, and the last state; sinks and empty places write nothing."""
        keys, values, gates = left
        place = seen[:, None] - self.window + torch.arange(keys.shape[1], device=seen.device)
        writes = (place >= self.sinks)[:, :, None, None, None]
        decay, beta = (gates * writes).float().unbind(-1)
        keys = nn.functional.normalize(keys.float(), dim=-1)
        return delta_read(q.float(), keys, values, decay, beta, state, remember)

    def _sinks(self, ring: Tensor, came: Tensor, seen: Tensor) -> Tensor:
        """The first frames of each row: those in the ring's sink places, or those that come now."""
        places = torch.arange(self.sinks, device=seen.device)
        new = places - seen[:, None]  # which of the frames that come now belongs there
        comes = (new >= 0) & (new < came.shape[1])
        rows = torch.arange(len(seen), device=seen.device)[:, None]
        taken = came[rows, new.clamp(0, came.shape[1] - 1)]
        return torch.where(comes.view(*comes.shape, *[1] * (came.dim() - 2)), taken, ring[:, : self.sinks])
