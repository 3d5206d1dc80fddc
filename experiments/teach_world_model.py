r"""Teach a world model what to remember: its features learn to tell a teacher's action, through whole episodes.

    python experiments/teach_world_model.py --recordings recordings/explorer --validation recordings/explorer_validation
        --output runs/taught --minutes 90

Predicting the next frame of a maze hardly needs what was seen long ago; finding the way back does. So this goes on
training a world model on two tasks: stretch by stretch through whole episodes, with the memory carried on, features
tell what a teacher would do and where the target lies that it has seen (`model.pupil`); and windows of the same
episodes are dreamed as in train_world_model.py, so that dreams stay as good. A killed run goes on where it was. Writes
into OUTPUT: `checkpoint/` (what gym.make takes as `checkpoint=`), the run's state, `metrics.jsonl`, TensorBoard events,
and `watched/`: the latents of the recordings. Then clone_behaviour.py --checkpoint OUTPUT/checkpoint --observation
features --no-recurrent makes an agent of it, whose only memory is the model's.
"""

import json
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from agents.results import told_checkpoint, training_record, write_json
from agents.run_history import earlier_trainings, run_history
from agents.run_lock import only_run_in
from agents.teaching import NEEDED, Answers, TeacherName, ask_all
from model.checkpoint import find_checkpoint
from model.diffusion import DiffusionConfig
from model.own_dreams import Dreaming, draw_dreaming
from model.pupil import Pupil
from model.training import (
    Windows,
    learning_rate_factor,
    make_optimizers,
    moving_average,
    set_learning_rate,
    world_model_loss,
)
from model.training_state import TENSORS_FILE, Progress, load_training_state, save_training_state, step_generator
from model.world_model import WorldModel
from wmgym.arguments import Range, check_minutes, check_ranges, nothing_to_do
from wmgym.checkpoint import DEFAULT_CHECKPOINT, fingerprint, open_checkpoint, refuse_unsteppable
from wmgym.clips import long_enough
from wmgym.fidelity import dream_against_reality, read_all
from wmgym.fitting import diverged
from wmgym.heap import keep_freed_memory
from wmgym.lessons import MIRRORED, check_one_length, keep_apart, state_in, usable_files
from wmgym.plain_errors import plain_errors
from wmgym.recording import Episode
from wmgym.taught_runs import BEGAN_WITH, copy_starts, put_aside, refuse_another_start
from wmgym.taught_walks import Walks, read_steps, share_right
from wmgym.watched_mazes import refuse_other_world
from wmgym.watched_recordings import place_watched, watch_recordings

RANGES: dict[str, Range] = {
    "episodes_at_once": (1, math.inf), "stretch": (2, math.inf), "rehearse_every": (1, math.inf),
    "rehearsal_rows": (1, math.inf), "rehearsal_window": (2, math.inf), "rehearsal_weight": (0, math.inf),
    "rehearsal_dreamed": (0, 1), "rehearsal_frames": (1, math.inf), "rehearsal_paid": (0, 1),
    "goal_weight": (0, math.inf), "learning_rate": (0, 1), "cooldown": (0, 1), "average_decay": (0, 1),
    "forget_every": (1, math.inf), "steps": (1, math.inf), "save_every": (0.1, math.inf),
    "validate_every": (0, math.inf), "seed": (0, math.inf), "workers": (1, math.inf),
}  # fmt: skip
BAR = "{desc}: {percentage:5.1f} %|{bar}| {elapsed}<{remaining}{postfix}"
JUDGED_EPISODES, CLIPS_PER_EPISODE, CONTEXT, HORIZON = 8, 2, 50, 16
"""What is measured while teaching: episodes, clips cut from each, their real frames and those dreamed after them."""


@dataclass(frozen=True)
class Args:
    """Teach a world model what to remember."""

    recordings: tuple[Path, ...]
    """Folders of training episodes of the maze, from collect_episodes.py; best the teacher walked itself."""
    validation: Path
    """Folder of episodes to tell on how well the teacher is known, and how good dreams are: by the first eight."""
    output: Path = Path("runs/taught")
    """Run folder; an existing run in it is continued."""
    checkpoint: str | None = None
    """World model to begin with: a folder or a Hugging Face Hub id; the shipped one by default."""
    teacher: TeacherName = "explorer"
    """Who says what to do: one that uses what it has seen, or one that knows where the target is."""
    mirror: bool = True
    """Learn from all episodes a second time, left for right: twice as many mazes."""
    anew: bool = False
    """A run in OUTPUT that began with another world model is put aside, in OUTPUT/of-..., in place of an error."""
    minutes: float = 90.0
    """Time to train, over all restarts; the learning rate falls to zero at its end."""
    steps: int | None = None
    """Train so many steps, if the minutes allow, and on to the end of the episodes that are gone through at the time.
    The learning rate then follows the steps."""
    episodes_at_once: int = 4
    """Episodes that are gone through side by side."""
    stretch: int = 125
    """Frames of each in a step; gradients reach so far back, memory through the whole episode."""
    goal_weight: float = 1.0
    """Of the loss of where the target lies, against that of the teacher's action."""
    rehearse_every: int = 2
    """Dream in every so many steps, so that it is not unlearned."""
    rehearsal_rows: int = 2
    """Windows to dream in such a step."""
    rehearsal_window: int = 64
    """Frames of a window."""
    rehearsal_dreamed: float = 0.5
    """Share of these windows that remember what the model makes of them, so that it learns to go on from its own
    dreams: half of them its predictions of all frames, half a dream at their end."""
    rehearsal_frames: int = 8
    """Frames of such a dream, at most."""
    rehearsal_paid: float = 0.0
    """Share of the windows that are drawn with a reward in so many last frames: rewards are rare."""
    rehearsal_weight: float = 10.0
    """Of the loss of dreams, against that of the teacher's action."""
    learning_rate: float = 1e-3
    """Of Muon and AdamW after warm-up."""
    cooldown: float = 0.5
    """Share of the budget, at its end, over which the learning rate falls to zero."""
    average_decay: float = 0.998
    """Decay of the moving average of the weights, which is what is kept: for a trial of few steps, pass 0.9."""
    forget_every: int = 20
    """When measuring, tell too how well the teacher is known with memory emptied after so many frames."""
    seed: int = 0
    """Fixes data order, noise and the small networks."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """bf16-mixed where the processor or GPU multiplies bf16 natively."""
    workers: int = os.cpu_count() or 1
    """Processes that ask the teacher."""
    save_every: float = 120.0
    """Seconds between saves: what a kill loses at most, and up to one round of episodes."""
    validate_every: float = 900.0
    """Seconds between measurements on validation episodes."""

    def check(self) -> None:
        """Refuses numbers that would stop the run later, or let it do nothing."""
        check_minutes(self.minutes)
        check_ranges(self, RANGES)

    def spent(self, progress: Progress) -> float:
        """The share of the budget that is used; 1 or more when the run is over."""
        return max(progress.seconds / (self.minutes * 60), progress.step / self.steps if self.steps else 0.0)


def main(args: Args) -> dict[str, float]:
    """Teaches until the budget is spent; returns the last measurements."""
    args.check()
    refuse_other_world(args.checkpoint, "teaching", "teachers know its walls and targets only.")
    keep_freed_memory()
    files = {"train": usable_files(args.recordings), "validation": usable_files((args.validation,))}
    keep_apart(files["train"], files["validation"])
    files["validation"] = files["validation"][:JUDGED_EPISODES]
    for name, paths in files.items():
        check_one_length(paths, name)
    source = find_checkpoint(DEFAULT_CHECKPOINT if args.checkpoint is None else args.checkpoint)
    if source.resolve() == (args.output / "checkpoint").resolve():
        raise ValueError(
            f"--checkpoint {args.checkpoint} and --output {args.output} given, expected a checkpoint that this run "
            "does not write. To go on with it, leave --checkpoint as it was; to begin from it, pass another --output."
        )
    with only_run_in(args.output):
        if args.anew:
            put_aside(args.output, fingerprint(source))
        refuse_another_start(args.output, fingerprint(source))
        return teach(args, source, files)


def teach(args: Args, source: Path, files: dict[str, list[Path]]) -> dict[str, float]:
    """Does so in the folder of the output, which is there."""
    fabric = Fabric(accelerator="auto", devices=1, precision=args.precision)
    torch.manual_seed(args.seed)
    world = open_checkpoint(source).world
    refuse_unsteppable(world)
    *_, progress = run_of(args, world)
    if args.spent(progress) >= 1:
        print(nothing_to_do(progress.seconds, args.minutes, progress.step))
        return {}
    read = partial(state_in, keys=NEEDED)  # in other processes, and before a GPU is in use
    answers = {name: ask_all(args.teacher, paths, read, args.workers, tqdm, name) for name, paths in files.items()}
    held_out = long_enough(read_all(files["validation"]), CONTEXT + HORIZON, print)
    world.to(fabric.device)
    place = place_watched(args.output, "latent", source)
    walks, unseen = (
        walks_in(world, place, paths, answers[name], args.mirror and name == "train") for name, paths in files.items()
    )
    pupil, average, optimizers, progress = run_of(args, world)
    data = {"episodes": len(files["train"]), "recorded_frames": len(files["train"]) * walks.frames}
    history = history_of(args, source, progress) | data | {BEGAN_WITH: fingerprint(source)}
    copy_starts(source, args.output / "checkpoint")
    writer = SummaryWriter(str(args.output))
    bar = tqdm(total=1000, initial=int(1000 * args.spent(progress)), desc="teaching", bar_format=BAR)
    recent: list[dict[str, float]] = []
    metrics: dict[str, float] = {}
    if not progress.step:
        log(args.output, writer, progress, measured(args, average.module, world.eval(), unseen, held_out))
        pupil.train()
    last_save = last_validation = last_tick = time.monotonic()
    while args.spent(progress) < 1:
        # a run is saved between rounds, which follow from seed and step alone: after a kill the next is the same
        rng = np.random.default_rng([args.seed, progress.step])
        torch.manual_seed(int(rng.integers(2**62)))  # what the pupil leaves out
        memory = None
        for lesson in walks.round(rng, args.episodes_at_once, args.stretch, fabric.device):
            rate = args.learning_rate * learning_rate_factor(progress.step, args.spent(progress), 50, args.cooldown)
            set_learning_rate(optimizers, rate)
            with fabric.autocast():
                taught, memory = pupil(lesson, memory or world.dynamics.initial_memory(len(lesson.wanted)))
                losses = {"action": taught.action, "goal": taught.goal}
                total = taught.action + args.goal_weight * taught.goal
                if progress.step % args.rehearse_every == 0:
                    batch = rehearsal_windows(args, walks, rng, fabric.device)
                    noise = step_generator(args.seed, progress.step, fabric.device)
                    dreamed = world_model_loss(world.dynamics, batch, rehearsal(args, world, rng), noise)
                    losses |= {"denoising": dreamed.denoising, "reward": dreamed.reward}
                    total = total + args.rehearsal_weight * dreamed.total
            total.backward()
            gradient = torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
            if not math.isfinite(float(gradient)):
                raise diverged(progress.step, args.learning_rate, args.output, (args.output / TENSORS_FILE).exists())
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            average.update_parameters(pupil)
            recent.append({name: float(value.detach()) for name, value in losses.items()})
            now = time.monotonic()
            progress.step, progress.frames = progress.step + 1, progress.frames + lesson.wanted.numel()
            progress.seconds, last_tick = progress.seconds + now - last_tick, now
            bar.update(int(1000 * min(1.0, args.spent(progress))) - bar.n)
        over = args.spent(progress) >= 1
        if now - last_save > args.save_every or over:
            kept = publish(args, progress, world, average.module, history)
            save_training_state(args.output, progress, pupil, average, optimizers)
            metrics = {k: float(np.mean([row[k] for row in recent if k in row])) for k in losses_in(recent)}
            recent.clear()
            bar.set_postfix({name: f"{value:.3f}" for name, value in metrics.items()}, refresh=False)
            if now - last_validation > args.validate_every or over:
                metrics |= measured(args, average.module, kept, unseen, held_out)
                last_validation = time.monotonic()
            log(args.output, writer, progress, metrics | {"rate": rate})
            last_save = last_tick = time.monotonic()  # measuring and saving is not training time
    bar.close()
    told = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if name.startswith("validation/"))
    print(f"{told or 'not measured'}\nThe checkpoint is {args.output / 'checkpoint'}.")
    return metrics


def run_of(args: Args, world: WorldModel) -> tuple[Pupil, AveragedModel, list[torch.optim.Optimizer], Progress]:
    """Returns what is trained: a pupil around the world model, as far as the run in the output has come."""
    pupil = Pupil(world.dynamics.requires_grad_(True)).to(world.device).train()
    average = moving_average(pupil, args.average_decay)
    optimizers = make_optimizers(pupil, args.learning_rate, use_muon=True)
    return pupil, average, optimizers, load_training_state(args.output, pupil, average, optimizers) or Progress()


def walks_in(world: WorldModel, place: Path, files: list[Path], answers: list[Answers], mirror: bool) -> Walks:
    """Returns recorded episodes and what the teacher knew in them, and after them the same in a mirror if asked."""
    led, rewards = read_steps(files)
    known = (np.stack([getattr(each, name) for each in answers]) for name in ("actions", "targets", "known"))
    with tqdm(desc="latents", unit="frame", unit_scale=True) as bar:
        watch = partial(watch_recordings, world, files, place, "latent", progress=bar.update)
        walks = Walks(tuple(watch()), led, rewards, *known)
        return walks.and_those(walks.in_a_mirror(watch(mirror=MIRRORED), MIRRORED)) if mirror else walks


def rehearsal_windows(args: Args, walks: Walks, rng: np.random.Generator, device: torch.device) -> Windows:
    """Returns the windows of a rehearsal."""
    counts = args.rehearsal_rows, args.rehearsal_window
    return walks.windows(
        rng, *counts, device, paid_share=args.rehearsal_paid, last_frames=args.rehearsal_frames
    )  # fmt: skip


def rehearsal(args: Args, world: WorldModel, rng: np.random.Generator) -> DiffusionConfig:
    """Returns how a rehearsal is noised, and how much of what it remembers is dreamed."""
    dreamed = Dreaming(share=args.rehearsal_dreamed, passes=2, frames=args.rehearsal_frames)
    return DiffusionConfig(context_noise=0.1, dreaming=draw_dreaming(dreamed, steps_of(world, 1, 2), rng))


def steps_of(world: WorldModel, *wanted: int) -> list[int]:
    """Returns which numbers of denoising steps the world model can take."""
    return [k for k in wanted if k <= world.config.dynamics.max_denoising_steps]


def losses_in(rows: list[dict[str, float]]) -> list[str]:
    """Returns the names of all losses in some steps."""
    return list(dict.fromkeys(name for row in rows for name in row))


def log(folder: Path, writer: SummaryWriter, progress: Progress, metrics: dict[str, float]) -> None:
    """Writes measurements to TensorBoard and to `metrics.jsonl`."""
    for name, value in metrics.items():
        writer.add_scalar(name, value, progress.step)
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps({**vars(progress), **metrics}) + "\n")


def record_of(args: Args, progress: Progress) -> dict[str, Any]:
    """Returns settings and counters for the checkpoint, without where things lie on this machine."""
    record = training_record(args, progress)
    del record["settings"]["workers"], record["settings"]["anew"]
    record["settings"]["checkpoint"] = told_checkpoint(args.checkpoint)
    return record


def history_of(args: Args, source: Path, progress: Progress) -> dict[str, Any]:
    """Returns what the checkpoint's record says of how the run began."""
    settings = record_of(args, progress)["settings"]
    history = run_history(args.output / "checkpoint" / "training.json", settings, progress.step, print)
    return history | earlier_trainings(start_from=None if progress.step else source)


def publish(args: Args, progress: Progress, world: WorldModel, average: Any, history: dict[str, Any]) -> WorldModel:
    """Writes the averaged model as a checkpoint; returns it."""
    folder = args.output / "checkpoint"
    kept = WorldModel(world.config).to(world.device)
    kept.tokenizer.load_state_dict(world.tokenizer.state_dict())
    kept.dynamics.load_state_dict(average.dynamics.state_dict())
    kept.save_pretrained(folder)
    write_json(folder / "training.json", record_of(args, progress) | history)
    return kept.eval()


def measured(
    args: Args, pupil: torch.nn.Module, world: WorldModel, unseen: Walks, held_out: list[Episode]
) -> dict[str, float]:
    """Returns how well the teacher is known in unseen mazes, with and without long memory, and how good dreams are."""
    found = {}
    for name, every in (
        ("validation/right", None),
        (f"validation/right_emptied_every_{args.forget_every}", args.forget_every),
    ):
        found[name] = share_right(pupil, unseen, JUDGED_EPISODES, every, world.device)
    for k in steps_of(world, 1, 4):
        report = dream_against_reality(
            world, held_out, clips_per_episode=CLIPS_PER_EPISODE, context=CONTEXT, horizon=HORIZON, denoising_steps=k
        )
        summary = report.summary()
        found |= {f"validation/{name}_{k}_steps": summary[name] for name in ("psnr_first", "psnr_mean")}
    return found


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
