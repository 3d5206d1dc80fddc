"""How fast the two models train, and where a step of training goes: reading, forward, backward, optimizers.

What is stepped is what `train_tokenizer.py` and `train_world_model.py` step, without dreams of the model's own and
without few-step targets, so that all steps are alike.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.config import LSSVWMConfig, TokenizerConfig
from model.data import EncodedEpisode, LatentStore, append_episodes
from model.diffusion import DiffusionConfig
from model.lssvwm import LSSVWM
from model.tokenizer import Tokenizer
from model.training import Objective, Windows, make_optimizers, moving_average
from wmgym.floors import counted_operations

KINDS = {
    "matrix products": ("mm", "convolution"),
    "attention, softmax": ("softmax", "scaled_dot_product"),
    "copies": ("copy", "cat", "clone", "contiguous", "fill_", "zero_"),
    "normalisation": ("_norm",),
}
"""Operations of torch by what they are, told by words in their names; most others work on each element for itself."""
ELEMENTWISE = "element by element"


@dataclass(frozen=True)
class TrainingSpeed:
    """What training costs.

    Attributes:
        frames: of a step.
        seconds: of a step.
        operations: floating-point operations of the model's matrix products, convolutions and attention in a step,
            forward and backward; what optimizers do is not counted.
        parts: seconds of a step by part: reading, forward, backward, optimizers.
    """

    frames: int
    seconds: float
    operations: int
    parts: dict[str, float]

    @property
    def frames_per_second(self) -> float:
        """Frames learned from in a second."""
        return self.frames / self.seconds

    def share(self, matmul: float) -> float:
        """What part of a rate of matrix products, in operations a second, training reaches."""
        return self.operations / self.seconds / matmul


class Training:
    """A training that can be stepped, and measured part by part.

    Args:
        read: Returns the next batch.
        loss: Of a batch.
        model: Whose gradients are clipped to norm 1, and whose weights are averaged.
        optimizers: Of their weights.
        precision: "32-true" or "bf16-mixed", as Fabric names it.
    """

    def __init__(
        self,
        read: Callable[[], object],
        loss: Callable[[object], Tensor],
        model: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        precision: str,
    ) -> None:
        self._read, self._loss, self._model, self._optimizers = read, loss, model, optimizers
        self._mixed = precision == "bf16-mixed"
        self._average = moving_average(model, 0.99)
        self._device = next(model.parameters()).device

    def step(self, parts: dict[str, float] | None = None) -> None:
        """Make one step, and add its seconds to those given."""
        spent = defaultdict[str, float](float) if parts is None else parts
        with self._counted(spent, "reading"):
            batch = self._read()
        with self._counted(spent, "forward"), torch.autocast(self._device.type, torch.bfloat16, self._mixed):
            loss = self._loss(batch)
        with self._counted(spent, "backward"):
            loss.backward()
        with self._counted(spent, "optimizers"):
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            for optimizer in self._optimizers:
                optimizer.step()
                optimizer.zero_grad()
            self._average.update_parameters(self._model)

    def measure(self, frames: int, seconds: float) -> TrainingSpeed:
        """Step for so long, at least three times, after two steps and a counted pass that are not.

        Args:
            frames: Of a step.
            seconds: To repeat for.
        """
        self.step()
        with counted_operations() as counter:
            batch = self._read()
            with torch.autocast(self._device.type, torch.bfloat16, self._mixed):
                loss = self._loss(batch)
            loss.backward()
        self._model.zero_grad()
        self.step()
        parts, steps = defaultdict[str, float](float), 0
        until = time.perf_counter() + seconds
        while steps < 3 or time.perf_counter() < until:
            self.step(parts)
            steps += 1
        per_step = {name: spent / steps for name, spent in parts.items()}
        return TrainingSpeed(frames, sum(per_step.values()), counter.get_total_flops(), per_step)

    def operations(self, steps: int = 2) -> dict[str, float]:
        """Return what shares of the processor's time kinds of operations take, by torch's profiler."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(steps):
                self.step()
        spent = defaultdict[str, float](float)
        for event in profile.key_averages():
            spent[kind_of(event.key)] += event.self_cpu_time_total
        total = sum(spent.values())
        return {kind: v / total for kind, v in sorted(spent.items(), key=lambda item: -item[1])}

    @contextlib.contextmanager
    def _counted(self, spent: dict[str, float], name: str) -> Iterator[None]:
        before = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        spent[name] += time.perf_counter() - before


def kind_of(operation: str) -> str:
    """Return which of `KINDS` an operation of torch's profiler is."""
    return next((kind for kind, words in KINDS.items() if any(word in operation for word in words)), ELEMENTWISE)


def tokenizer_training(config: TokenizerConfig, batch: int, precision: str, device: str = "cpu") -> Training:
    """Return a training of a fresh tokenizer on random frames."""
    model = Tokenizer(config).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    generator = torch.Generator(device).manual_seed(0)
    recorded = np.random.default_rng(0).integers(0, 256, (4 * batch, config.frame_size, config.frame_size, 3), np.uint8)
    rng = np.random.default_rng(0)

    def read() -> Tensor:
        frames = torch.from_numpy(recorded[rng.integers(len(recorded), size=batch)]).to(device)
        return (frames.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def loss(frames: Tensor) -> Tensor:
        return nn.functional.mse_loss(model.reconstruct(frames, generator), frames)

    return Training(read, loss, model, [optimizer], precision)  # type: ignore[arg-type]


def world_model_training(
    config: LSSVWMConfig, store: LatentStore, window: int, rows: int, precision: str, device: str = "cpu"
) -> Training:
    """Return a training of a fresh world model on windows read from a store."""
    model = LSSVWM(config).to(device)
    objective = Objective(model, DiffusionConfig(shortcut_fraction=0.0))
    rng, generator = np.random.default_rng(0), torch.Generator(device).manual_seed(0)

    def read() -> Windows:
        return Windows(*(None if v is None else v.to(device) for v in store.windows(rng, rows, window)))  # type: ignore[arg-type]

    def loss(batch: Windows) -> Tensor:
        objective.batch = batch
        return objective(generator).total  # type: ignore[no-any-return]

    return Training(read, loss, model, make_optimizers(model, 1e-4, use_muon=True), precision)  # type: ignore[arg-type]


def random_store(folder: Path, config: LSSVWMConfig, episodes: int, frames: int) -> LatentStore:
    """Write episodes of random latents, and open them as training does: as memory maps."""
    rng = np.random.default_rng(0)
    shape = (frames, config.latent_channels, config.latent_size, config.latent_size)

    def draw() -> Iterator[EncodedEpisode]:
        for i in range(episodes):
            latents = rng.standard_normal(shape, np.float32).clip(-1, 1).astype(np.float16)
            rewards = (rng.random(frames) < 0.01).astype(np.float32)
            actions = rng.integers(0, config.num_actions, frames)
            yield EncodedEpisode(f"random-{i}", latents, actions, rewards, np.zeros(frames, np.float32))

    append_episodes(folder, draw())
    return LatentStore(folder)
