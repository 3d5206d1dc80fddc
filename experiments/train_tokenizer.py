r"""Train the tokenizer on recorded frames, for a given number of minutes; a killed run goes on where it was.

    python experiments/train_tokenizer.py --recordings recordings/train --validation recordings/validation \
        --output runs/tokenizer --minutes 20

Writes into OUTPUT: `model.safetensors` and `config.json` (what train_world_model.py reads), the run's state (every
minute), `metrics.jsonl`, and TensorBoard events with reconstructions. On several devices: `--devices 2`, or torchrun.
"""

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from agents.results import training_record, write_json
from agents.run_history import run_history
from agents.run_lock import only_training_in
from model.checkpoint import save_weights
from model.config import PRESETS, PresetName, WorldModelConfig
from model.frame_sizes import with_frame_size
from model.start_weights import take_encoder
from model.tokenizer import Tokenizer
from model.training import learning_rate_factor, moving_average, set_learning_rate
from model.training_state import Progress, load_training_state, save_training_state, step_generator
from wmgym.arguments import check_minutes, check_ranges, nothing_to_do
from wmgym.codec import frames_to_tensor, psnr, tensor_to_frames
from wmgym.encoding import refuse_held_out, refuse_size, sound_episodes
from wmgym.errors import RecordingError
from wmgym.heap import keep_freed_memory
from wmgym.plain_errors import plain_errors
from wmgym.recording import scan


@dataclass
class Args:
    """Train the tokenizer on recorded frames."""

    recordings: Path
    """Folder of training episodes, as collect_episodes.py writes them."""
    validation: Path
    """Folder of episodes to measure on while training."""
    output: Path
    """Run folder; an existing run in it is continued."""
    encoder_of: Path | None = None
    """Train only a decoder, for the latents of this tokenizer or world model: what learned from them still fits."""
    preset: PresetName = "cpu"
    """Size of the network."""
    frame_size: int | None = None
    """Pixels along each side of a frame; the preset's by default. Frames of videos are scaled down to it, others must
    have it."""
    minutes: float = 20.0
    """Time to train, over all restarts; the learning rate falls to zero at its end."""
    batch: int = 32
    """Frames per step and device."""
    learning_rate: float = 1.5e-3
    """AdamW's rate after warm-up."""
    episodes: int = 100
    """At most this many episodes are held in memory (12 MB each for 1,000 frames of 64x64)."""
    seed: int = 0
    """Fixes initial weights, data order and noise."""
    precision: str = "32-true"
    """Fabric's precision: 32-true, or bf16-mixed where the processor or GPU multiplies bf16 natively."""
    devices: int = 1
    """Processes or GPUs to train on."""
    save_every: float = 60.0
    """Seconds between saves: what a kill loses at most."""

    def check(self) -> None:
        """Refuses numbers that would stop the run later, or let it do nothing."""
        check_minutes(self.minutes)
        check_ranges(self, {name: (1, math.inf) for name in ("batch", "episodes", "devices")})
        check_ranges(self, {"learning_rate": (0, math.inf), "seed": (0, math.inf), "save_every": (0.1, math.inf)})
        with_frame_size(PRESETS[self.preset], self.frame_size)


def main(args: Args) -> dict[str, float]:
    """Runs the training; returns the last validation metrics."""
    args.check()
    keep_freed_memory()
    fabric = Fabric(accelerator="auto", devices=args.devices, precision=args.precision)  # type: ignore[arg-type]
    fabric.launch()
    torch.manual_seed(args.seed)
    config = with_frame_size(PRESETS[args.preset], args.frame_size)
    size = config.tokenizer.frame_size
    frames = load_frames(args.recordings, args.episodes, args.seed, size, for_training=True)
    held_out = load_frames(args.validation, 8, args.seed, size, for_training=False)[:: max(1, 8 * 1001 // 512)]
    model = Tokenizer(config.tokenizer)
    if args.encoder_of is not None:
        take_encoder(model, args.encoder_of)
    with only_training_in(args.output, fabric):
        return train(args, fabric, config, model, frames, held_out)


def train(
    args: Args,
    fabric: Fabric,
    config: WorldModelConfig,
    model: Tokenizer,
    frames: NDArray[np.uint8],
    held_out: NDArray[np.uint8],
) -> dict[str, float]:
    """Trains until the minutes are spent; returns the last validation metrics."""
    model = model.to(memory_format=torch.channels_last)
    average = moving_average(model, decay=0.998).to(fabric.device)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=args.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("reconstruct")
    progress = load_training_state(args.output, model, average, [optimizer]) or Progress()
    if done_already := nothing_to_do(progress.seconds, args.minutes):
        fabric.print(done_already)
        return {}
    settings = training_record(args, progress)["settings"]
    history = run_history(args.output / "training.json", settings, progress.step, fabric.print)

    writer = SummaryWriter(str(args.output)) if fabric.is_global_zero else None
    bar = tqdm(total=round(args.minutes * 60), initial=round(progress.seconds), unit="s", desc="tokenizer",
               disable=writer is None)  # fmt: skip
    metrics: dict[str, float] = {}
    last_save = last_tick = time.monotonic()
    while progress.seconds < args.minutes * 60:
        done = progress.seconds / (args.minutes * 60)
        rate = args.learning_rate * learning_rate_factor(progress.step, done, warmup_steps=100, cooldown=0.7)
        set_learning_rate([optimizer], rate)
        rng = np.random.default_rng([args.seed, progress.step, fabric.global_rank])
        batch = frames_to_tensor(frames[rng.integers(len(frames), size=args.batch)], fabric.device)
        batch = batch.contiguous(memory_format=torch.channels_last)
        generator = step_generator(args.seed + fabric.global_rank, progress.step, fabric.device)
        loss = torch.nn.functional.mse_loss(wrapped.reconstruct(batch, generator), batch)
        fabric.backward(loss)
        fabric.clip_gradients(wrapped, optimizer, max_norm=1.0)
        wrapped_optimizer.step()
        wrapped_optimizer.zero_grad()
        average.update_parameters(model)

        now = time.monotonic()
        progress.step += 1
        progress.frames += args.batch * fabric.world_size
        progress.seconds += fabric.broadcast(now - last_tick)  # one clock for all devices: they end together
        bar.update(round(progress.seconds) - bar.n)
        last_tick = now
        over = progress.seconds >= args.minutes * 60
        if (now - last_save > args.save_every or over) and writer is not None:
            metrics = evaluate(average.module, held_out, writer, progress)
            metrics["train_psnr"] = float(10 * torch.log10(4 / loss.detach()))
            bar.set_postfix(psnr=f"{metrics['psnr']:.2f}", frames=progress.frames)
            save_training_state(args.output, progress, model, average, [optimizer])
            publish(args, progress, average.module, config, batch, history)
            with (args.output / "metrics.jsonl").open("a") as log:
                log.write(json.dumps({**vars(progress), **metrics}) + "\n")
            last_save = last_tick = time.monotonic()  # measuring and saving is not training time
    bar.close()
    return metrics


def load_frames(folder: Path, episodes: int, seed: int, size: int, for_training: bool) -> NDArray[np.uint8]:
    """Reads up to `episodes` random episodes of a folder; unusable files are named and skipped.

    Frames of another size are refused but for videos, and so are held-out mazes `for_training`.
    """
    found = scan(folder, tqdm)
    for path, why in found.unusable.items():
        print(f"skipped {path.name}: {why}", file=sys.stderr)
    order = np.random.default_rng(seed).permutation(len(found.usable))[:episodes]
    images = []
    files = [found.usable[i] for i in order]
    for path, episode in sound_episodes(tqdm(files, desc=f"reading {folder.name}", unit="episode"), size):
        refuse_size(path, episode, size)
        if for_training:
            refuse_held_out(path, episode)
        images.append(episode.image)
    if not images:
        raise RecordingError(f"{folder} holds no usable episode; record some with experiments/collect_episodes.py.")
    return np.concatenate(images)


@torch.no_grad()
def evaluate(
    tokenizer: Tokenizer, frames: NDArray[np.uint8], writer: SummaryWriter, progress: Progress
) -> dict[str, float]:
    """Reconstruction of held-out frames, after rounding to 256 levels as a dream's frames are."""
    device = tokenizer.scale.device
    rebuilt = np.concatenate(
        [
            tensor_to_frames(tokenizer.decode(tokenizer.encode(frames_to_tensor(part, device))))
            for part in np.array_split(frames, max(1, len(frames) // 64))
        ]
    )
    error = ((rebuilt.astype(np.float64) - frames) ** 2).mean()
    metrics = {"psnr": float(10 * np.log10(255**2 / error)), "psnr_frame_mean": float(psnr(frames, rebuilt).mean())}
    for name, value in metrics.items():
        writer.add_scalar(f"validation/{name}", value, progress.step)
    pairs = np.concatenate([frames[::64], rebuilt[::64]], axis=1)[:8]
    writer.add_images("validation/real above rebuilt", pairs, progress.step, dataformats="NHWC")
    return metrics


@torch.no_grad()
def publish(
    args: Args,
    progress: Progress,
    tokenizer: Tokenizer,
    config: WorldModelConfig,
    batch: torch.Tensor,
    history: dict[str, Any],
) -> None:
    """Measures the latents' spread and writes the tokenizer, and how it was trained, for train_world_model.py."""
    weights = {k: v.clone() for k, v in tokenizer.state_dict().items()}
    if args.encoder_of is None:
        weights["scale"] = (tokenizer.encode(batch) * tokenizer.scale).std()
    save_weights(args.output, config, weights)
    write_json(args.output / "training.json", training_record(args, progress) | history)


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
