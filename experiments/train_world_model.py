r"""Train LSSVWM on recorded episodes, for a given number of minutes; a killed run goes on where it was.

    python experiments/train_world_model.py --recordings recordings/train --validation recordings/validation \
        --tokenizer runs/tokenizer --output runs/world_model --minutes 120

Encodes the episodes once (into OUTPUT/latents), then trains. Writes into OUTPUT: `checkpoint/` (what gym.make takes as
`checkpoint=`), the run's state (every `--save-every` seconds), `metrics.jsonl`, and TensorBoard events with dreamed
frames under real ones. On several devices: `--devices 2` or under torchrun.
"""

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from lightning_fabric import Fabric
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from agents.results import training_record, write_json
from agents.run_history import earlier_trainings, run_history
from agents.run_lock import only_training_in
from model.backbones import BackboneName, with_backbone
from model.config import PRESETS, LSSVWMConfig, PresetName
from model.data import LatentStore, append_episodes
from model.diffusion import DiffusionConfig
from model.frame_sizes import with_frame_size
from model.own_dreams import Dreaming, draw_dreaming
from model.poses import POSE_SIZE
from model.start_weights import open_tokenizer
from model.tokenizer import Tokenizer
from model.training import (
    Losses,
    Objective,
    Windows,
    context_stage,
    learning_rate_factor,
    make_optimizers,
    moving_average,
    set_learning_rate,
)
from model.training_state import TENSORS_FILE, Progress, load_training_state, save_training_state, step_generator
from model.world_model import WorldModel
from wmgym.arguments import (
    check_backwards,
    check_dream_steps,
    check_minutes,
    check_mode,
    check_ranges,
    check_stages,
    check_start,
    check_windows,
    nothing_to_do,
    say_short,
)
from wmgym.checkpoint import save_starts
from wmgym.clips import long_enough
from wmgym.encoding import Starts, encode_new, read_sound, read_starts
from wmgym.fidelity import dream_against_reality
from wmgym.fitting import build_world, diverged, fit_to_recordings
from wmgym.heap import keep_freed_memory
from wmgym.latents import bind_to_recordings, bind_to_tokenizer, names_in, open_store
from wmgym.plain_errors import plain_errors
from wmgym.recorded_world import copy_world
from wmgym.recording import Episode, Scan, scan

CLIPS_PER_EPISODE = 2  # of those that are measured on while training


@dataclass
class Args:
    """Train LSSVWM on recorded episodes."""

    recordings: Path
    """Folder of training episodes."""
    validation: Path
    """Folder of episodes to measure on while training; never those that results are reported on."""
    tokenizer: Path
    """Run folder of train_tokenizer.py, or the checkpoint of a world model with the tokenizer to use."""
    output: Path
    """Run folder; an existing run in it is continued."""
    start_from: Path | None = None
    """Checkpoint whose weights a new run starts with (optimizer, average and clock start afresh)."""
    transfer: bool = False
    """The checkpoint to start from is of another world: take all weights of its network that fit, and no tokenizer."""
    keep_layers: tuple[int, ...] = ()
    """Start a smaller network as these layers of the checkpoint, counted from 0; the preset says how many it has."""
    preset: PresetName = "cpu"
    """Size of the network; the tokenizer must have been trained with the same one."""
    frame_size: int | None = None
    """Pixels along each side of a frame, those that the tokenizer was trained with; the preset's by default."""
    backbone: BackboneName = "lssvwm"
    """What remembers: LSSVWM, or a system it is compared with, of the same size (model.backbones)."""
    minutes: float = 120.0
    """Time to train, over all restarts; the learning rate falls to zero at its end. Raise it to go on later."""
    steps: int | None = None
    """Train so many steps, if the minutes allow: the same result on any machine. Schedules then follow the steps."""
    conditioning: Literal["action", "pose"] = "action"
    """What is known of a frame before it is predicted: the action that led to it, or where the camera is and looks.
    Environments step models of actions only, and evaluate_world_model.py measures no others."""
    mode: Literal["clean_past", "diffusion_forcing"] = "clean_past"
    """How the past of a noised frame is shown; see model.diffusion."""
    clean_prefix: float = 0.5
    """`diffusion_forcing`: how often a prefix longer than half the window is clean; 0 leaves long context untaught."""
    there_and_back: float = 0.0
    """With poses: share of the windows whose second half is the first one backwards, so that memory pays."""
    pose_origin: int = 0
    """With poses: relative to a frame up to so many before the window, for models that see but the end of walks."""
    stages: tuple[tuple[float, int], ...] = ((0.6, 32), (0.85, 96), (1.0, 192))
    """Frames per window: (share of the budget until which it holds, frames), at most those of the longest episode."""
    frames_per_step: int = 256
    """Frames per step and device; the batch is this divided by the window."""
    learning_rate: float = 2e-3
    """AdamW's rate after warm-up."""
    muon: bool = False
    """Use Muon for the matrices of the layers."""
    shortcut_after: float = 0.5
    """Share of the budget after which few-step targets join the finest ones."""
    shortcut_fraction: float = 0.25
    """Share of a batch that learns few-step targets once they have joined."""
    pure_noise: float = 0.5
    """How often a frame is predicted in one step from pure noise."""
    context_noise: float = 0.3
    """`clean_past`: remembered frames get up to this share of noise, so that dreams survive their own mistakes."""
    dreamed_share: float = 0.5
    """`clean_past`: share of the windows whose remembered frames are partly dreamed by the model as it stands."""
    predict_passes: int = 2
    """Half of these remember one-step predictions in place of frames, made in up to this many passes."""
    dreamed_frames: int = 8
    """The other half end in a dream of up to this many frames."""
    dream_steps: tuple[int, ...] = (1, 2, 4)
    """Denoising steps of these predictions and dreams, drawn anew for each step of training."""
    dream_after: float = 0.2
    """Share of the budget after which the model remembers its own dreams."""
    cooldown: float = 0.4
    """Share of the budget, at its end, over which the learning rate falls to zero."""
    seed: int = 0
    """Fixes initial weights, data order and noise."""
    precision: str = "32-true"
    """Fabric's precision: 32-true, or bf16-mixed where the processor or GPU multiplies bf16 natively."""
    devices: int = 1
    """Processes or GPUs to train on."""
    save_every: float = 120.0
    """Seconds between saves: what a kill loses at most."""
    validate_every: float = 600.0
    """Seconds between measurements of dreams against held-out episodes."""
    context: int = 50
    """Real frames before the dreams that are measured while training; fewer for worlds of short episodes."""
    horizon: int = 16
    """Frames of these dreams."""
    contexts: int = 192
    """Training episodes whose first frames are shipped with the checkpoint, for dreams to start from."""
    clips: int = 160
    """Training episodes of which a clip is shipped, too."""
    clip_frames: int = 8
    """Frames of a clip, 12 KB each at 64x64."""
    max_episodes: int = 100_000
    """Use at most this many episodes."""
    average_decay: float = 0.998
    """Decay of the moving average of the weights."""

    def check(self) -> None:
        """Refuses numbers that would stop the run later, or let it do nothing."""
        counts = ("contexts", "clip_frames", "frames_per_step", "max_episodes", "devices", "steps")
        counts += ("context", "horizon")
        dreams = dict.fromkeys(("predict_passes", "dreamed_frames"), "To remember no dreams, pass --dreamed-share 0.")
        shares = ("dreamed_share", "shortcut_fraction", "pure_noise", "context_noise", "clean_prefix", "there_and_back")
        check_minutes(self.minutes)
        check_ranges(self, dict.fromkeys((*counts, *dreams), (1, math.inf)), dreams)
        rest = ("learning_rate", "seed", "clips", "pose_origin", "validate_every")
        check_ranges(self, dict.fromkeys(rest, (0, math.inf)))
        check_ranges(self, dict.fromkeys((*shares, "average_decay"), (0, 1)) | {"save_every": (0.1, math.inf)})
        check_stages(self.stages)
        check_dream_steps(self.dream_steps, PRESETS[self.preset].dynamics.max_denoising_steps)
        check_backwards(self.there_and_back, self.pose_origin, self.conditioning)
        check_mode(self.mode, self.dynamics.steppable, self.backbone)
        if not (self.output / TENSORS_FILE).exists():  # a run that goes on starts with its own weights
            check_start(self.start_from, self.transfer, self.keep_layers)

    def spent(self, progress: Progress) -> float:
        """The share of the budget that is used; 1 or more when the run is over."""
        return max(progress.seconds / (self.minutes * 60), progress.step / self.steps if self.steps else 0.0)

    @property
    def dreaming(self) -> Dreaming:
        """How much of what is remembered is dreamed, at most."""
        return Dreaming(self.dreamed_share, self.predict_passes, self.dreamed_frames)

    @property
    def dynamics(self) -> LSSVWMConfig:
        """The network asked for; actions and rewards are those of the recordings, once they are read."""
        dynamics = with_backbone(with_frame_size(PRESETS[self.preset], self.frame_size).dynamics, self.backbone)
        return dataclasses.replace(dynamics, pose_size=POSE_SIZE if self.conditioning == "pose" else 0)


def main(args: Args) -> dict[str, float]:
    """Runs the training; returns the last validation metrics."""
    args.check()
    keep_freed_memory()
    fabric = Fabric(accelerator="auto", devices=args.devices, precision=args.precision)  # type: ignore[arg-type]
    fabric.launch()
    torch.manual_seed(args.seed)
    tokenizer = open_tokenizer(args.tokenizer).to(fabric.device)
    sound = read_sound(scan(args.validation, tqdm).usable[:16], tokenizer.config.frame_size)
    held_out = long_enough(sound, args.context + args.horizon, fabric.print)  # short ones are told of now
    found = scan(args.recordings, tqdm)
    dynamics = fit_to_recordings(args.dynamics, tokenizer, args.recordings, found, held_out)
    with only_training_in(args.output, fabric):
        return train(args, fabric, tokenizer, dynamics, found, held_out)


def train(
    args: Args, fabric: Fabric, tokenizer: Tokenizer, dynamics: LSSVWMConfig, found: Scan, held_out: list[Episode]
) -> dict[str, float]:
    """Encodes what is not encoded yet and trains until the budget is spent; returns the last validation metrics."""
    folder, starts, size = args.output / "latents", None, tokenizer.config.frame_size
    if fabric.is_global_zero:
        bind_to_tokenizer(folder, args.tokenizer)
        bind_to_recordings(folder, found)
        append_episodes(folder, encode_new(found, tokenizer, dynamics, names_in(folder), args.max_episodes, tqdm))
        starts = read_starts(found.usable, args.contexts, args.clips, args.clip_frames, args.seed, tqdm, size)
    fabric.barrier()
    store = open_store(folder)
    source = None if (args.output / TENSORS_FILE).exists() else args.start_from
    world = build_world(dynamics, tokenizer, store, source, args.transfer, args.keep_layers).to(fabric.device)
    check_windows(args.stages, int(store.lengths.max()))
    say_short(args.stages, store.names, store.lengths.tolist(), fabric.print)
    model = world.dynamics
    average = moving_average(model, args.average_decay).to(fabric.device)
    optimizers = make_optimizers(model, args.learning_rate, args.muon)
    objective = Objective(model, DiffusionConfig())
    wrapped, *wrapped_optimizers = fabric.setup(objective, *optimizers)
    progress = load_training_state(args.output, model, average, optimizers) or Progress()
    if args.spent(progress) >= 1:
        fabric.print(nothing_to_do(progress.seconds, args.minutes, progress.step))
        return {}
    settings = training_record(args, progress)["settings"]
    history = run_history(args.output / "checkpoint" / "training.json", settings, progress.step, fabric.print)
    history |= earlier_trainings(tokenizer=args.tokenizer, start_from=None if progress.step else args.start_from)
    writer = SummaryWriter(str(args.output)) if fabric.is_global_zero else None
    total, unit = (args.steps, "step") if args.steps else (round(args.minutes * 60), "s")
    at = progress.step if args.steps else round(progress.seconds)
    bar = tqdm(total=total, initial=at, unit=unit, desc="world model", disable=writer is None)
    metrics: dict[str, float] = {}
    last_save = last_validation = last_tick = time.monotonic()
    recent: list[float] = []
    while (done := args.spent(progress)) < 1:
        rate = args.learning_rate * learning_rate_factor(progress.step, done, 100, args.cooldown)
        set_learning_rate(optimizers, rate)
        window = context_stage(done, args.stages)
        rng = np.random.default_rng([args.seed, progress.step, fabric.global_rank])
        rows = max(1, args.frames_per_step // window)
        windows = store.windows(rng, rows, window, args.there_and_back, args.pose_origin, show_ends=True)
        batch = Windows(*(None if v is None else v.to(fabric.device) for v in windows))  # type: ignore[arg-type]
        objective.batch = batch
        # the same on all devices, which wait for one another; no device's own stream ends in this number
        lengths = np.random.default_rng([args.seed, progress.step, fabric.world_size])
        objective.diffusion = DiffusionConfig(
            mode=args.mode,
            prefix_probability=args.clean_prefix,
            pure_noise_probability=args.pure_noise,
            context_noise=args.context_noise,
            dreaming=draw_dreaming(args.dreaming, args.dream_steps, lengths) if done >= args.dream_after else None,
            shortcut_fraction=args.shortcut_fraction if done >= args.shortcut_after else 0.0,
        )
        losses: Losses = wrapped(step_generator(args.seed + fabric.global_rank, progress.step, fabric.device))
        fabric.backward(losses.total)
        gradient = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not math.isfinite(float(gradient)):
            raise diverged(progress.step, args.learning_rate, args.output, (args.output / TENSORS_FILE).exists())
        for optimizer in wrapped_optimizers:
            optimizer.step()
            optimizer.zero_grad()
        average.update_parameters(model)
        now = time.monotonic()
        progress.step += 1
        progress.frames += batch.rewards.numel() * fabric.world_size
        progress.seconds += fabric.broadcast(now - last_tick)  # one clock for all devices: they end together
        bar.update((progress.step if args.steps else round(progress.seconds)) - bar.n)
        recent.append(float(losses.denoising.detach()))
        last_tick = now
        over = args.spent(progress) >= 1
        if writer is not None and (now - last_save > args.save_every or over):
            world_average = publish(args, progress, world, average.module, store, starts, history)
            save_training_state(args.output, progress, model, average, optimizers)
            metrics = {name: float(value.detach()) for name, value in losses._asdict().items()}
            metrics["recent"] = float(np.mean(recent))
            recent.clear()
            if now - last_validation > args.validate_every or over:
                metrics |= validate(args, world_average, held_out, writer, progress)
                last_validation = time.monotonic()
            for name, value in metrics.items():
                writer.add_scalar(name, value, progress.step)
            with (args.output / "metrics.jsonl").open("a") as log:
                log.write(json.dumps({**vars(progress), "window": window, "rate": rate, **metrics}) + "\n")
            bar.set_postfix(loss=f"{metrics['recent']:.4f}", frames=progress.frames)
            last_save = last_tick = time.monotonic()  # measuring and saving is not training time
    bar.close()
    return metrics


def publish(
    args: Args,
    progress: Progress,
    world: WorldModel,
    average: torch.nn.Module,
    store: LatentStore,
    starts: Starts | None,
    history: dict[str, Any],
) -> WorldModel:
    """Writes the averaged model as a checkpoint, which gym.make can open if it is one of actions; returns it."""
    folder = args.output / "checkpoint"
    shipped = WorldModel(world.config).to(world.device)
    shipped.tokenizer.load_state_dict(world.tokenizer.state_dict())
    shipped.dynamics.load_state_dict(average.state_dict())
    shipped.save_pretrained(folder)
    if starts is not None:
        save_starts(folder, *starts)
    data = {"episodes": len(store.names), "recorded_frames": store.frames}
    data |= {"first_episode": store.names[0], "last_episode": store.names[-1]}
    copy_world(args.recordings, folder)
    write_json(folder / "training.json", training_record(args, progress) | data | history)
    return shipped.eval()


def validate(
    args: Args, world: WorldModel, episodes: list[Episode], writer: SummaryWriter, progress: Progress
) -> dict[str, float]:
    """Dreams on from held-out contexts under the real actions and compares."""
    metrics = {}
    for k in (k for k in (1, 4) if k <= world.config.dynamics.max_denoising_steps):
        report = dream_against_reality(
            world, episodes, clips_per_episode=CLIPS_PER_EPISODE, context=args.context, horizon=args.horizon,
            denoising_steps=k)  # fmt: skip
        metrics |= {f"validation/{name}_{k}_steps": value for name, value in report.summary().items()}
        strip = np.concatenate([report.real[0], report.dreamed[0]], axis=1)  # real above dreamed
        writer.add_image(f"validation/real above dreamed, {k} steps", np.concatenate(list(strip), 1), progress.step,
                         dataformats="HWC")  # fmt: skip
    return metrics


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
