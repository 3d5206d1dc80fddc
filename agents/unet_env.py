"""A pixel-space diffusion environment of DIAMOND's size and sampler, as a yardstick of speed for `bench_dream`.

Written from the paper (arXiv:2405.12399, Atari) without code of its authors. Weights are random: only the cost of a
step means anything. What would repeat is done once: conditions of all denoising steps in one product, the convolution
of the past once a frame. Tensors lie channels last, which takes up to a fifth off a convolution on a CPU.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

# DIAMOND's, from its configuration for Atari; conditions are vectors, of noise level and actions or of the action.
SIZE, HISTORY, LEVELS, BLOCKS, CHANNELS, CONDITION = 64, 4, 4, 2, 64, 256
OUTCOME_CHANNELS, OUTCOME_CONDITION, LSTM = 32, 128, 512
SIGMA_MIN, SIGMA_MAX, RHO, SIGMA_DATA = 2e-3, 5.0, 7, 0.5
# Ours: channels normalised together; and bytes of the largest activation. Beyond, the allocator asks the system for
# fresh pages time and again: on a CPU rows are denoised few at a time, a sixth less time at batch 32 in float32.
GROUP, CHUNK = 32, 2**23

Grid = Float[Tensor, "b _c _x _y"]
Pixels = UInt8[np.ndarray, "b 64 64 3"]
Denoise = Callable[[Grid, int], Grid]
State = tuple[Tensor, Tensor]
_convolution = partial(nn.Conv2d, kernel_size=3, padding=1)


class _Residual(nn.Module):
    """Two convolutions added to their input, each behind a modulated group norm and SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.widths = (inputs, outputs)
        self.convolutions = nn.ModuleList(_convolution(width, outputs) for width in self.widths)
        self.around = nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, v: Grid, modulations: Iterator[Float[Tensor, "b _ 1 1"]]) -> Grid:
        out = v
        for convolution in self.convolutions:
            scale, shift = next(modulations).chunk(2, dim=1)
            normal = F.group_norm(out, out.shape[1] // GROUP)
            out = convolution(F.silu(torch.addcmul(shift, normal, scale, out=normal), inplace=True))
        return out.add_(self.around(v.movedim(1, 3)).movedim(3, 1))


class _Modulation(nn.Module):
    """Scales and shifts for all norms of a network, in order, from its condition in one product."""

    def __init__(self, condition: int, network: nn.Module) -> None:
        super().__init__()
        self.widths = [2 * width for v in network.modules() if isinstance(v, _Residual) for width in v.widths]
        self.mlp = nn.Sequential(nn.Linear(condition, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.project = nn.Linear(condition, sum(self.widths))
        nn.init.ones_(self.project.bias)

    def forward(self, condition: Float[Tensor, "*k c"]) -> tuple[Float[Tensor, "*k _ 1 1"], ...]:
        return tuple(self.project(self.mlp(condition))[..., None, None].split(self.widths, dim=-3))


def _levels(inputs: int, outputs: int, blocks: int, between: Callable[[], nn.Module]) -> nn.ModuleList:
    level: list[Callable[[], nn.Module]] = [*[partial(_Residual, inputs, outputs)] * blocks, between]
    return nn.ModuleList(make() for make in (level * LEVELS)[:-1])


class UNet(nn.Module):
    """The denoiser, of 4.4 million parameters as DIAMOND's, for the noise levels `sigmas`.

    Three blocks a level on the way up, each over one of the twelve results of the way down, are DDPM's and lead to that
    number. Ours: the two blocks in the middle without attention, and how actions and noise levels are embedded.
    """

    def __init__(self, num_actions: int, sigmas: Sequence[float]) -> None:
        super().__init__()
        self.sigmas, c = sigmas, CHANNELS
        self.embed = nn.Embedding(num_actions, CONDITION // HISTORY)
        angles = torch.tensor([[math.log(s) / 4] for s in sigmas]) * torch.randn(CONDITION // 2) * 2 * math.pi
        self.register_buffer("noise", torch.cat([angles.cos(), angles.sin()], 1)[:, None])
        self.past = _convolution(3 * HISTORY, c)
        self.present = _convolution(3, c, bias=False)
        self.down = _levels(c, c, BLOCKS, partial(_convolution, c, c, stride=2))
        self.middle = nn.ModuleList(_Residual(c, c) for _ in range(2))
        self.up = _levels(2 * c, c, BLOCKS + 1, lambda: nn.Sequential(nn.Upsample(None, 2), _convolution(c, c)))
        self.out = nn.Sequential(nn.GroupNorm(c // GROUP, c), nn.SiLU(inplace=True), _convolution(c, 3))
        self.modulation = _Modulation(CONDITION, self)

    def denoiser(self, past: Float[Tensor, "b 12 x y"], actions: Int64[Tensor, "b 4"]) -> Denoise:
        """A function from a noisy frame and the index of its noise level to the frame, preconditioned as in EDM."""
        modulations = self.modulation(self.noise + self.embed(actions).flatten(1))
        return partial(self._denoise, self.past(past), modulations)

    def _denoise(self, past: Grid, modulations: tuple[Tensor, ...], noisy: Grid, i: int) -> Grid:
        scale, each = 1 / math.hypot(self.sigmas[i], SIGMA_DATA), (m[i] for m in modulations)
        skips = [v := self.present((noisy * scale).to(past.dtype)).add_(past)]
        for block in self.down:
            v = block(v, each) if isinstance(block, _Residual) else block(v)
            skips.append(v)
        for block in self.middle:
            v = block(v, each)
        for block in self.up:
            v = block(torch.cat([v, skips.pop()], 1), each) if isinstance(block, _Residual) else block(v)
        change = self.out(v).to(noisy.dtype)
        return torch.add(noisy * (SIGMA_DATA * scale) ** 2, change, alpha=self.sigmas[i] * SIGMA_DATA * scale)


class _Outcomes(nn.Module):
    """Logits of the rewards -1, 0, 1 and of an end, and the LSTM's state after them; the head's two layers are ours."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.embed, c = nn.Embedding(num_actions, OUTCOME_CONDITION), OUTCOME_CHANNELS
        self.enter = _convolution(6, c)
        self.down = _levels(c, c, BLOCKS, partial(_convolution, c, c, stride=2))
        self.modulation = _Modulation(OUTCOME_CONDITION, self)
        self.lstm = nn.LSTMCell(c * (SIZE >> LEVELS - 1) ** 2, LSTM)
        self.head = nn.Sequential(nn.Linear(LSTM, LSTM), nn.SiLU(), nn.Linear(LSTM, 4))

    def forward(self, pair: Grid, actions: Tensor, state: State | None) -> tuple[Tensor, State]:
        v, modulations = self.enter(pair), iter(self.modulation(self.embed(actions)))
        for block in self.down:
            v = block(v, modulations) if isinstance(block, _Residual) else block(v)
        state = self.lstm(v.flatten(1), state)
        return self.head(state[0]), state


def noise_levels(steps: int) -> list[float]:
    """The levels of Karras et al. (arXiv:2206.00364, equation 5) and a last one of zero."""
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return [(high + i / max(steps - 1, 1) * (low - high)) ** RHO for i in range(steps)] + [0.0]


def sample(denoise: Denoise, noise: Grid, sigmas: Sequence[float]) -> Grid:
    """Euler steps from unit noise, scaled to the first level, down to the last; one call of the denoiser each."""
    v = noise * sigmas[0]
    for i, (now, after) in enumerate(pairwise(sigmas)):
        v = torch.lerp(denoise(v, i), v, after / now)
    return v


class UNetEnv:
    """A batch of environments in lock step, of random weights in `dtype`; rows go on after an end is told.

    `history` is the last four frames in [-1, 1], in channels (b, 64, 64, 12), `actions` (b, 4) as many; newest last.
    """

    def __init__(
        self, batch: int, denoising_steps: int = 3, num_actions: int = 6, seed: int = 0,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.batch, self.dtype, self.device = batch, dtype, torch.device(device)
        self.sigmas = noise_levels(denoising_steps)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.unet, self.outcomes = UNet(num_actions, self.sigmas[:-1]), _Outcomes(num_actions)
        for network in (self.unet, self.outcomes):
            network.to(self.device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._rows = CHUNK // (2 * CHANNELS * SIZE**2 * dtype.itemsize) if self.device.type == "cpu" else batch
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self.reset()

    @torch.inference_mode()
    def reset(self) -> Pixels:
        """Starts anew from four frames of noise; returns the newest."""
        shape = (self.batch, SIZE, SIZE, 3 * HISTORY)
        pixels = torch.randint(256, shape, generator=self._generator, device=self.device, dtype=torch.uint8)
        self.history = (pixels / 127.5 - 1).to(self.dtype)
        self.actions = torch.zeros(self.batch, HISTORY, dtype=torch.int64, device=self.device)
        self._state: State | None = None
        return pixels[..., -3:].cpu().numpy()

    @torch.inference_mode()
    def step(self, actions: Int[np.ndarray, " b"]) -> tuple[Pixels, Float64[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """Frames, rewards (-1, 0 or 1) and ends that follow actions in [0, num_actions)."""
        chosen = torch.as_tensor(actions, dtype=torch.int64, device=self.device)
        self.actions = torch.cat([self.actions[:, 1:], chosen[:, None]], 1)
        noise = torch.randn((self.batch, SIZE, SIZE, 3), generator=self._generator, device=self.device)
        rows = (v.split(self._rows) for v in (self.history.movedim(3, 1), self.actions, noise.movedim(3, 1)))
        frames = [sample(self.unet.denoiser(p, a), v, self.sigmas) for p, a, v in zip(*rows, strict=True)]
        levels = torch.cat(frames).movedim(1, 3).clamp_(-1, 1).add_(1).mul_(127.5).round_()
        pixels = levels.to(torch.uint8)
        self.history = torch.cat([self.history[..., 3:], levels.div_(127.5).sub_(1).to(self.dtype)], 3)
        logits, self._state = self.outcomes(self.history[..., -6:].movedim(3, 1), chosen, self._state)
        rewards = torch.multinomial(logits[:, :3].float().softmax(1), 1, generator=self._generator)[:, 0] - 1
        ends = torch.bernoulli(logits[:, 3].float().sigmoid(), generator=self._generator).bool()
        return pixels.cpu().numpy(), rewards.double().cpu().numpy(), ends.cpu().numpy()
