"""The stack: in every layer a block-wise scan, then frame-local attention, then an MLP, each modulated and residual."""

from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor, nn

from model.axes import Conditioning, Tokens
from model.block_scan import BlockScan, BlockStates
from model.conditioning import Modulation
from model.config import BlockSize, LSSVWMConfig
from model.hybrid_attention import HybridAttention
from model.joint_linear import JointLinear
from model.local_attention import Ring, WindowPlan, frame_local_attention, plan_everything, plan_windows
from model.memory import Memory

WHY_NOT_STEPPABLE = (
    "this model's attention is bidirectional: each frame is worked out together with later ones, so nothing of it can "
    "be kept as a memory, and no environment can step it. Expected a backbone that looks back only (model.backbones). "
    "It is trained with --mode diffusion_forcing, and dreams frame by frame with model.sliding_context."
)


class LocalAttention(nn.Module):
    """Projections around `frame_local_attention`; queries and keys are normalised."""

    def __init__(self, config: LSSVWMConfig) -> None:
        """Makes the projections."""
        super().__init__()
        self.heads = config.attention_heads
        self.project = JointLinear(config.width, [config.width] * 3)
        self.query_norm = nn.LayerNorm(config.width // self.heads, bias=False)
        self.key_norm = nn.LayerNorm(config.width // self.heads, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, tokens: Tokens, ring: tuple[Ring, Ring], plan: WindowPlan) -> tuple[Tokens, tuple[Ring, Ring]]:
        """Mixes tokens within the window; returns the ring after the last frame of stream 0."""
        q, k, v = rearrange(self.project(tokens), "... (three heads e) -> three ... heads e", three=3, heads=self.heads)
        mixed, ring = frame_local_attention(self.query_norm(q), self.key_norm(k), v, ring, plan)
        return self.out(rearrange(mixed, "... heads e -> ... (heads e)")), ring


class Layer(nn.Module):
    """One layer of LSSVWM (arXiv:2505.20171 section 4.1): scan for memory, attention for detail, MLP.

    What it is compared with lacks the scan or the attention.
    """

    scan: BlockScan
    scan_modulation: Modulation
    attention: LocalAttention | HybridAttention
    attention_modulation: Modulation

    def __init__(self, config: LSSVWMConfig, block_size: BlockSize) -> None:
        """Up to three branches with a modulation each."""
        super().__init__()
        hidden = config.mlp_ratio * config.width
        self.scans, self.attends = config.scan, config.attention != "none"
        if self.scans:
            self.scan = BlockScan(config, block_size)
        if self.attends:
            self.attention = HybridAttention(config) if config.attention == "hybrid" else LocalAttention(config)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, config.width)
        )
        if self.scans:
            self.scan_modulation = Modulation(config.width)
        if self.attends:
            self.attention_modulation = Modulation(config.width)
        self.mlp_modulation = Modulation(config.width)

    def forward(
        self,
        tokens: Tokens,
        conditioning: Conditioning,
        states: BlockStates | None,
        ring: tuple[Ring, ...],
        plan: WindowPlan | None,
        seen: Int[Tensor, " b"],
        remember: bool = True,
    ) -> tuple[Tokens, BlockStates | None, tuple[Ring, ...]]:
        """Tokens after the layer, and with `remember` the layer's memory after the last frame of stream 0.

        States are there if the layer has a recurrence; ring and plan if it has attention.
        """
        if self.scans:
            modulated, gate = self.scan_modulation(tokens, conditioning)
            mixed, states = self.scan(modulated, states, remember)
            tokens = torch.addcmul(tokens, gate, mixed)
        if self.attends:
            modulated, gate = self.attention_modulation(tokens, conditioning)
            if isinstance(self.attention, HybridAttention):
                mixed, ring, states = self.attention(modulated, ring, states, plan, seen, remember)
            else:
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
        frames = c.sink_frames + (c.attention_window if c.attention in ("window", "hybrid") else 0)
        scan: list[Tensor] = []
        rings: list[list[Tensor]] = [[], [], []]  # keys, values, gates
        for bh, bw in map(c.block_size, range(c.layers)):
            shape = (c.tokens // (bh * bw), c.scan_heads, c.scan_head_channels, c.scan_state)
            if c.attention == "hybrid":
                shape = (1, c.attention_heads, head_channels, head_channels)
            if c.scan or c.attention == "hybrid":
                scan.append(torch.zeros(batch, *shape, device=device))
            ring = torch.zeros(batch, frames, c.tokens, c.attention_heads, head_channels, device=device)
            if c.attention != "none":
                rings[0].append(ring)
                rings[1].append(torch.zeros_like(ring))
            if c.attention == "hybrid":
                rings[2].append(torch.zeros_like(ring[..., :2]))
        seen = torch.zeros(batch, dtype=torch.int64, device=device)
        return Memory(tuple(scan), tuple(rings[0]), tuple(rings[1]), tuple(rings[2]), seen)

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

        Raises:
            ValueError: the model sees later frames, and is asked to remember, or to tell two streams apart.
        """
        self._refuse_later_frames(tokens.shape[1], remember)
        given, memory = memory, self._without_unused(memory)
        plan = self._plan(memory, *tokens.shape[1:3])
        scan: list[BlockStates] = []
        rings: list[tuple[Ring, ...]] = []
        for i, layer in enumerate(self.layers):
            states = memory.scan[i] if memory.scan else None
            ring = self._ring(memory, i, tokens.dtype)
            tokens, states, ring = layer(tokens, conditioning, states, ring, plan, memory.seen, remember)
            scan += [] if states is None else [states]
            rings.append(ring)
        if not remember:
            return tokens, given
        dtype, frames = (memory.keys[0].dtype if memory.keys else tokens.dtype), conditioning.shape[2]
        kept = [tuple(v.to(dtype) for v in layers) for layers in zip(*rings, strict=True)]
        if frames > 1:  # views of all frames seen now; after a single one, sparing the copy is worth one frame's bytes
            kept = [tuple(v.contiguous() for v in layers) for layers in kept]
        keys, values, gates = (*kept, (), (), ())[:3]
        return tokens, Memory(tuple(scan), keys, values, gates, memory.seen + frames)

    def _plan(self, memory: Memory, streams: int, frames: int) -> WindowPlan | None:
        c = self.config
        if c.attention == "none":
            return None
        if c.attention in ("window", "hybrid"):
            return plan_windows(
                memory.seen, streams, frames, c.tokens, c.attention_window, c.attention_heads, c.attention_span,
                c.sink_frames,
            )  # fmt: skip
        ring = memory.keys[0].shape[1]
        both_ways = c.attention == "bidirectional"
        return plan_everything(
            memory.seen, streams, frames, c.tokens, ring, c.attention_heads, c.attention_span, both_ways
        )

    def _ring(self, memory: Memory, layer: int, dtype: torch.dtype) -> tuple[Ring, ...]:
        return tuple(layers[layer].to(dtype) for layers in (memory.keys, memory.values, memory.gates) if layers)

    def _without_unused(self, memory: Memory) -> Memory:
        """A ring that grows needs no more places than the dream that saw most frames has seen."""
        if self.config.attention != "full" or not memory.keys[0].shape[1]:
            return memory
        unused = memory.keys[0].shape[1] - int(memory.seen.max())
        if unused <= 0:
            return memory
        keys, values = (tuple(v[:, unused:] for v in layers) for layers in (memory.keys, memory.values))
        return replace(memory, keys=keys, values=values)

    def _refuse_later_frames(self, streams: int, remember: bool) -> None:
        if not self.config.steppable and (streams > 1 or remember):
            raise ValueError(WHY_NOT_STEPPABLE)
