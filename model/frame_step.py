"""One layer of LSSVWM for one frame of every dream, laid out for speed; `model.backbone.Layer` is what it must equal.

What is saved against the layer that also trains: modulations are read from a table, nothing is concatenated (keys and
values of the frame go to a place of their own in the ring), the scan has no time axis and writes its new state into
memory that is there already. One such layer is the region that `torch.compile` works on.
"""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from model.backbone import Layer, LocalAttention
from model.config import BlockSize, LSSVWMConfig
from model.fused import LARGEST_SCORE, affine, averaged, gelu, largest_score

FrameTokens = Float[Tensor, "b q width"]
FrameModulation = Float[Tensor, "b 9 1 width"]
"""Shift, 1 + scale and gate of scan, attention and MLP."""
FrameStates = Float[Tensor, "g p_all n"]
"""The scan's memory with blocks folded into the batch and heads into channels."""
FrameRing = Float[Tensor, "b heads places q e"]


class FrameStep(nn.Module):
    """A layer with both a scan and frame-local attention, frozen."""

    scan_in: Tensor
    scan_norm: Tensor
    scan_out: Tensor
    skip: Tensor
    step_bias: Tensor
    rate: Tensor
    mask: Tensor
    attend_in: Tensor
    query_norm: Tensor
    key_norm: Tensor
    attend_out: Tensor

    def __init__(self, layer: Layer, config: LSSVWMConfig, block_size: BlockSize, dtype: torch.dtype) -> None:
        """Copies the weights.

        Args:
            layer: has a scan and attention to a window.
            config: its shape.
            block_size: the block size of its scan.
            dtype: of weights and tokens; decays stay in float32.
        """
        super().__init__()
        scan, attention, mlp = layer.scan, layer.attention, layer.mlp
        assert isinstance(attention, LocalAttention)
        self.width, self.side, self.block_size = config.width, config.tokens_per_side, block_size
        self.scan_heads, self.attention_heads = config.scan_heads, config.attention_heads
        self.activated, self.projections = config.scan_activation, scan.project.sizes

        def keep(name: str, v: Tensor, kind: torch.dtype = dtype) -> None:
            self.register_buffer(name, v.detach().to(kind, copy=True).contiguous(), persistent=False)

        keep("scan_in", scan.project.weight)
        keep("scan_norm", scan.norm.weight)
        keep("scan_out", scan.out.weight)
        keep("skip", scan.skip.repeat_interleave(config.scan_head_channels))
        keep("step_bias", scan.step_bias, torch.float32)
        keep("rate", -scan.log_rate.exp(), torch.float32)
        keep("attend_in", attention.project.weight)
        keep("query_norm", attention.query_norm.weight)
        keep("key_norm", attention.key_norm.weight)
        keep("attend_out", attention.out.weight)
        most = largest_score(attention.query_norm.weight, attention.key_norm.weight)
        self.scores_bounded = most < LARGEST_SCORE  # the frame's own tokens are always seen, at no distance
        widen, narrow = copy.deepcopy(mlp[0]).to(dtype), copy.deepcopy(mlp[2]).to(dtype)
        assert isinstance(widen, nn.Linear)
        assert isinstance(narrow, nn.Linear)
        self.widen, self.narrow = widen, narrow
        self.block_tokens = block_size[0] * block_size[1]
        reads = torch.ones(self.block_tokens, self.block_tokens).tril()  # which token of a block reads which
        keep("mask", reads.log(), torch.float32)  # 0 where it does, else minus infinity

    def forward(
        self,
        tokens: FrameTokens,
        modulation: FrameModulation,
        states: FrameStates,
        next_states: FrameStates,
        keys: FrameRing,
        values: FrameRing,
        bias: Float[Tensor, "b heads 1 keys"],
        place: Int[Tensor, " b"],
        remember: bool,
    ) -> FrameTokens:
        """Tokens after the layer.

        Args:
            tokens: of the frame.
            modulation: of this layer, for each dream.
            states: what the blocks remember; not changed.
            next_states: overwritten with what they remember after the frame, if `remember`.
            keys: of the ring; those of the frame are written to `place`.
            values: likewise.
            bias: what is added to attention scores, of all tokens of the ring: minus infinity where nothing is to see.
            place: which place of its ring is the frame's, for each dream.
            remember: whether the memory after the frame is wanted.
        """
        shift, scale, gate, shift_2, scale_2, gate_2, shift_3, scale_3, gate_3 = modulation.unbind(1)
        mixed = self._scan(self._modulated(tokens, shift, scale), states, next_states, remember)
        tokens = torch.addcmul(tokens, gate, mixed)
        mixed = self._attend(self._modulated(tokens, shift_2, scale_2), keys, values, bias, place)
        tokens = torch.addcmul(tokens, gate_2, mixed)
        hidden = gelu(affine(self._modulated(tokens, shift_3, scale_3), self.widen))
        return torch.addcmul(tokens, gate_3, affine(hidden, self.narrow))

    def _modulated(self, tokens: FrameTokens, shift: Tensor, scale: Tensor) -> FrameTokens:
        return torch.addcmul(shift, functional.layer_norm(tokens, (self.width,)), scale)

    def _scan(self, tokens: FrameTokens, states: FrameStates, next_states: FrameStates, remember: bool) -> FrameTokens:
        """The recurrence of `model.ssm`, one chunk of one frame a block."""
        heads = self.scan_heads
        z, x, b_in, c_out, step = functional.linear(tokens, self.scan_in).split(self.projections, -1)
        if self.activated:
            b_in, c_out = functional.silu(b_in), functional.silu(c_out)
        step = functional.softplus(step.float() + self.step_bias)
        decay = self._fold(step * self.rate).cumsum(1)  # [g m heads]
        written = self._fold((x.unflatten(-1, (heads, -1)) * step.to(x.dtype)[..., None]).flatten(-2))  # [g m p_all]
        b_in, c_out = self._fold(b_in), self._fold(c_out)
        if self.block_tokens == 1 and remember:  # what is read after writing: states are fetched once, not twice
            self._write(states, next_states, written, b_in, decay)
            y = torch.bmm(next_states, c_out.to(states.dtype).mT).mT.to(x.dtype)
        else:
            y = self._read(states, written, b_in, c_out, decay)
            if remember:
                self._write(states, next_states, written, b_in, decay)
        y = torch.addcmul(self._unfold(y, tokens.shape[0]), self.skip, x)
        gated = functional.layer_norm(y * functional.silu(z), (self.width,), self.scan_norm)
        return functional.linear(gated, self.scan_out)

    def _read(self, states: Tensor, written: Tensor, b_in: Tensor, c_out: Tensor, decay: Tensor) -> Tensor:
        """What tokens read from what the blocks remember, and from the tokens before them in the frame."""
        by_head = written.unflatten(-1, (self.scan_heads, -1))
        carried = torch.bmm(states, c_out.to(states.dtype).mT).mT.unflatten(-1, (self.scan_heads, -1))
        y = (decay.exp()[..., None] * carried).to(written.dtype)
        if self.block_tokens == 1:
            y = y + (b_in * c_out).sum(-1, keepdim=True)[..., None] * by_head
        else:
            exponent = decay.mT[..., :, None] - decay.mT[..., None, :] + self.mask  # [g heads m m]
            weight = exponent.exp() * torch.bmm(c_out, b_in.mT)[:, None]
            y = y + (weight.to(by_head.dtype) @ by_head.transpose(1, 2)).transpose(1, 2)
        read: Tensor = y.flatten(-2)
        return read

    def _write(self, states: Tensor, next_states: Tensor, written: Tensor, b_in: Tensor, decay: Tensor) -> None:
        """What the blocks remember after the frame."""
        channels = self.width // self.scan_heads
        survival = decay[:, -1:].exp().repeat_interleave(channels, -1).mT.to(states.dtype)
        if self.block_tokens == 1:
            added = written.mT.to(states.dtype) * b_in
        else:
            left = (decay[:, -1:] - decay).exp().to(written.dtype).repeat_interleave(channels, -1)
            added = torch.bmm((left * written).mT, b_in).to(states.dtype)
        next_states.copy_(torch.addcmul(added, survival, states))

    def _attend(self, tokens: FrameTokens, keys: FrameRing, values: FrameRing, bias: Tensor, place: Tensor) -> Tensor:
        heads, e = self.attention_heads, self.width // self.attention_heads
        projected = functional.linear(tokens, self.attend_in).unflatten(-1, (3, heads, e))
        q, k, v = (part.transpose(1, 2) for part in projected.unbind(2))
        q = functional.layer_norm(q, (e,), self.query_norm) * e**-0.5
        rows = torch.arange(len(tokens), device=tokens.device)
        keys[rows, :, place] = functional.layer_norm(k, (e,), self.key_norm)
        values[rows, :, place] = v
        scores = (q @ keys.flatten(2, 3).mT).float() + bias
        seen = averaged(scores, values.flatten(2, 3), self.scores_bounded)
        return functional.linear(seen.transpose(1, 2).flatten(-2), self.attend_out)

    def _fold(self, v: Tensor) -> Tensor:
        """Folds blocks into the batch: `[b (gh bh gw bw) ...] -> [(b gh gw) (bh bw) ...]`."""
        (bh, bw), b = self.block_size, v.shape[0]
        cells = v.view(b, self.side // bh, bh, self.side // bw, bw, -1).transpose(2, 3)
        folded: Tensor = cells.reshape(-1, bh * bw, v.shape[-1])
        return folded

    def _unfold(self, v: Tensor, b: int) -> Tensor:
        (bh, bw), side = self.block_size, self.side
        cells = v.view(b, side // bh, side // bw, bh, bw, -1).transpose(2, 3)
        tokens: Tensor = cells.reshape(b, side * side, -1)
        return tokens
