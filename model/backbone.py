"""The stack: in every layer a block-wise scan, then frame-local attention, then an MLP, each modulated and residual."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.axes import Conditioning, Tokens
from model.block_scan import BlockScan, BlockStates
from model.conditioning import Modulation
from model.config import BlockSize, LSSVWMConfig
from model.local_attention import Ring, WindowPlan, frame_local_attention, plan_windows
from model.memory import Memory


class LocalAttention(nn.Module):
    """Projections around `frame_local_attention`; queries and keys are normalised."""

    def __init__(self, config: LSSVWMConfig) -> None:
        """Makes the projections."""
        super().__init__()
        self.heads = config.attention_heads
        self.project = nn.Linear(config.width, 3 * config.width, bias=False)
        self.query_norm = nn.LayerNorm(config.width // self.heads, bias=False)
        self.key_norm = nn.LayerNorm(config.width // self.heads, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, tokens: Tokens, ring: tuple[Ring, Ring], plan: WindowPlan) -> tuple[Tokens, tuple[Ring, Ring]]:
        """Mixes tokens within the window; returns the ring after the last frame of stream 0."""
        q, k, v = rearrange(self.project(tokens), "... (three heads e) -> three ... heads e", three=3, heads=self.heads)
        mixed, ring = frame_local_attention(self.query_norm(q), self.key_norm(k), v, ring, plan)
        return self.out(rearrange(mixed, "... heads e -> ... (heads e)")), ring


class Layer(nn.Module):
    """One layer of LSSVWM (arXiv:2505.20171 section 4.1): scan for memory, attention for detail, MLP."""

    def __init__(self, config: LSSVWMConfig, block_size: BlockSize) -> None:
        """Three branches with a modulation each."""
        super().__init__()
        hidden = config.mlp_ratio * config.width
        self.scan = BlockScan(config, block_size)
        self.attention = LocalAttention(config)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, config.width)
        )
        self.scan_modulation = Modulation(config.width)
        self.attention_modulation = Modulation(config.width)
        self.mlp_modulation = Modulation(config.width)

    def forward(
        self,
        tokens: Tokens,
        conditioning: Conditioning,
        states: BlockStates,
        ring: tuple[Ring, Ring],
        plan: WindowPlan,
        remember: bool = True,
    ) -> tuple[Tokens, BlockStates, tuple[Ring, Ring]]:
        """Tokens after the layer, and with `remember` the layer's memory after the last frame of stream 0."""
        modulated, gate = self.scan_modulation(tokens, conditioning)
        mixed, states = self.scan(modulated, states, remember)
        tokens = torch.addcmul(tokens, gate, mixed)
        modulated, gate = self.attention_modulation(tokens, conditioning)
        mixed, ring = self.attention(modulated, ring, plan)
        tokens = torch.addcmul(tokens, gate, mixed)
        modulated, gate = self.mlp_modulation(tokens, conditioning)
        return torch.addcmul(tokens, gate, self.mlp(modulated)), states, ring


class Backbone(nn.Module):
    """Tokens in, tokens out, memory handed through: the network without its input and output projections."""

    def __init__(self, config: LSSVWMConfig) -> None:
        """Stacks the layers, block sizes in turn."""
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Layer(config, config.block_size(i)) for i in range(config.layers))

    def initial_memory(self, batch: int, device: torch.device) -> Memory:
        """The memory of `batch` dreams that have seen nothing."""
        c = self.config
        head_channels = c.width // c.attention_heads
        shape = (batch, c.attention_window, c.tokens, c.attention_heads, head_channels)
        keys, values = (tuple(torch.zeros(shape, device=device) for _ in range(c.layers)) for _ in range(2))
        blocks = [c.tokens // (bh * bw) for bh, bw in map(c.block_size, range(c.layers))]
        scan = [torch.zeros(batch, n, c.scan_heads, c.scan_head_channels, c.scan_state, device=device) for n in blocks]
        return Memory(tuple(scan), keys, values, torch.zeros(batch, dtype=torch.int64, device=device))

    def forward(
        self, tokens: Tokens, conditioning: Conditioning, memory: Memory, remember: bool = True
    ) -> tuple[Tokens, Memory]:
        """Runs the stack over a sequence that follows on `memory`.

        Args:
            tokens: stream 0 is remembered; stream 1, if present, sees the past of stream 0 and leaves no trace.
            conditioning: one vector a frame and stream.
            memory: what came before; it is not changed.
            remember: without it the given memory is returned, and the work of making a new one is saved.

        Returns:
            The tokens after the last layer, and the memory after the last frame of stream 0.
        """
        c = self.config
        streams, frames = tokens.shape[1:3]
        plan = plan_windows(memory.filled, streams, frames, c.tokens, c.attention_window, c.attention_heads)
        scan: list[Float[Tensor, "b blocks scan_heads p n"]] = []
        rings: list[tuple[Ring, Ring]] = []
        for i, layer in enumerate(self.layers):
            ring = memory.keys[i].to(tokens.dtype), memory.values[i].to(tokens.dtype)
            tokens, states, ring = layer(tokens, conditioning, memory.scan[i], ring, plan, remember)
            scan.append(states)
            rings.append(ring)
        if not remember:
            return tokens, memory
        dtype = memory.keys[0].dtype
        keys, values = (tuple(ring[j].to(dtype) for ring in rings) for j in (0, 1))
        if frames > 1:  # views of all frames seen now; after a single one, sparing the copy is worth one frame's bytes
            keys, values = (tuple(v.contiguous() for v in layers) for layers in (keys, values))
        filled = (memory.filled + frames).clamp_max(c.attention_window)
        return tokens, Memory(tuple(scan), keys, values, filled)
