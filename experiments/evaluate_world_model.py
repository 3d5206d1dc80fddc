"""Measure a checkpoint on held-out recordings: mazes of seeds it never trained on and was never tuned on.

    python experiments/evaluate_world_model.py --recordings recordings/test --output docs/results/evaluate_world_model

Measures the tokenizer's reconstruction, the dream against reality under the real actions for each number of denoising
steps, recall and precision of reward events on real frames, how far back the features reach, and what becomes of a long
dream. Writes `result.json`, `result.md` and plots.
"""

import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib
import numpy as np
import tyro
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

import wmgym  # noqa: F401  (registers the ids)
from agents.results import told_checkpoint, write_result
from model.checkpoint import weights_digest
from model.config import LSSVWMConfig
from model.sampler import check_denoising_steps
from model.world_model import WorldModel
from wmgym.arguments import check_ranges
from wmgym.checkpoint import DEFAULT_CHECKPOINT, open_checkpoint, refuse_unsteppable
from wmgym.chosen_actions import for_environment
from wmgym.clips import long_enough
from wmgym.codec import psnr
from wmgym.dream import DEFAULT_DENOISING_STEPS
from wmgym.encoding import read_sound
from wmgym.fidelity import (
    DreamComparison,
    dream_against_reality,
    predicted_events,
    reconstruct,
    refuse_other_worlds,
    refuse_training_seeds,
)
from wmgym.long_dreams import drift, frame_statistics, long_dreams
from wmgym.memory_reach import memory_reach
from wmgym.model_actions import action_space_of, takes
from wmgym.picture_metrics import likeness, load_lpips
from wmgym.plain_errors import plain_errors
from wmgym.recording import Episode, scan
from wmgym.watched_mazes import REAL_MAZE, other_world

matplotlib.use("Agg")
from matplotlib import pyplot as plt

AGES = (1, 2, 4, 8, 16, 32)  # of the frames whose weight in the memory is measured
REPLACED = {"memory_reach": "one frame", "memory_reach_all_before": "that frame and all before it"}
ELSEWHERE_SEED = 3_000_000  # no recording has seeds from here on


@dataclass
class Args:
    """Measure a checkpoint on held-out recordings."""

    recordings: Path
    """Folder of held-out episodes; those too short for a clip are left out of what is measured on clips."""
    output: Path = Path("runs/evaluate_world_model")
    """Folder for result.json and plots."""
    checkpoint: Path = DEFAULT_CHECKPOINT
    """Checkpoint folder; the shipped one by default."""
    episodes: int = 24
    """At most this many episodes."""
    clips_per_episode: int = 2
    """Clips cut from each episode for dream against reality."""
    context: int = 50
    """Real frames before a dream."""
    horizon: int = 16
    """Dreamed frames per clip."""
    long_dream: int = 1000
    """Frames of the long dreams that are checked for collapse; some episodes must have as many."""
    long_dreams: int = 4
    """How many of them."""
    denoising_steps: int = DEFAULT_DENOISING_STEPS
    """Sampler of the long dreams; that of the environments by default."""
    lpips: bool = False
    """Measure LPIPS of dreams, too: needs torchvision, and a network for its weights."""
    elsewhere: str | None = None
    """Real environment in which the actions of the long dreams are repeated in other mazes: what a world looks like to
    actions that know nothing of it. The 9x9 maze, unless the checkpoint is of another world; empty leaves it out."""
    seed: int = 0
    """Fixes the noise of all dreams."""

    def check(self) -> None:
        """Refuses numbers that leave nothing to measure; four quarters of a long dream need two frames each."""
        counts = ("episodes", "clips_per_episode", "context", "horizon", "long_dreams")
        check_ranges(self, dict.fromkeys(counts, (1, math.inf)) | {"long_dream": (8, math.inf), "seed": (0, math.inf)})


def main(args: Args) -> dict[str, Any]:
    """Measures, writes and returns the metrics."""
    args.check()
    started = time.monotonic()
    if args.elsewhere is None:
        args = replace(args, elsewhere=REAL_MAZE if other_world(str(args.checkpoint)) is None else "")
    world = open_checkpoint(args.checkpoint).world
    network = load_lpips() if args.lpips else None
    found = scan(args.recordings, tqdm)
    for why in found.unusable.values():
        print(f"skipped {why}", file=sys.stderr)
    episodes = read_sound(found.usable[: args.episodes], world.config.tokenizer.frame_size)
    refuse_early(args, world, episodes)
    of_clips = long_enough(episodes, args.context + args.horizon, print)
    args.output.mkdir(parents=True, exist_ok=True)

    frames = np.concatenate([episode.image[::20] for episode in episodes])
    metrics: dict[str, Any] = {
        "episodes": len(episodes),
        "parameters": sum(p.numel() for p in world.parameters()),
        "tokenizer_psnr": float(psnr(frames, reconstruct(world, frames)).mean()),
    }
    steps = [2**i for i in range(world.config.dynamics.max_denoising_steps.bit_length())]
    comparisons = {}
    for k in tqdm(steps, desc="dream against reality", unit="sampler"):
        comparisons[k] = dream_against_reality(
            world, of_clips, clips_per_episode=args.clips_per_episode, context=args.context, horizon=args.horizon,
            denoising_steps=k, seed=args.seed,
        )  # fmt: skip
    metrics["clips"], metrics["horizon"] = comparisons[1].real.shape[:2]
    metrics["dream"] = {str(k): compared(comparison, network) for k, comparison in comparisons.items()}
    metrics |= events(world, episodes)
    if len(of_clips) > 1:  # frames of one are replaced by those of another
        of_what = partial(memory_reach, world, of_clips, AGES, clips_per_episode=args.clips_per_episode)
        for name, before in (("memory_reach", False), ("memory_reach_all_before", True)):
            reach = of_what(context=args.context, and_all_before=before)
            metrics[name] = {str(age): share for age, share in reach.items()}
    longer = [e for e in episodes if len(e.image) > args.long_dream]
    followed_by_dreams = longer[: args.long_dreams]
    dream, rewards = long_dreams(
        world, followed_by_dreams, args.long_dream, args.denoising_steps, args.seed, progress=tqdm
    )
    metrics["long_dream"] = drift(dream, np.stack([e.image[1 : args.long_dream + 1] for e in longer]))
    followed = np.stack([e.reward[1 : args.long_dream + 1] for e in followed_by_dreams])
    if args.elsewhere:
        elsewhere = repeat_elsewhere(followed_by_dreams, args)
        metrics["long_dream"]["real_elsewhere"] = frame_statistics(elsewhere)
        save_rows(elsewhere, args.output / "real_elsewhere.png")
    metrics["long_dream"] |= {
        "denoising_steps": args.denoising_steps,
        "reward_per_1000_steps": {"dreamed": 1000 * float(rewards.mean()), "real": 1000 * float(followed.mean())},
    }
    plot_psnr(comparisons, args.output / "psnr.png")
    save_strip([comparisons[k] for k in steps[:2]], args.output / "clips.png")
    save_rows(dream, args.output / "long_dream.png")
    config = asdict(args) | {"recordings": args.recordings.name, "checkpoint": told_checkpoint(args.checkpoint)}
    config["world_model"] = weights_digest(args.checkpoint)[:16]
    config.pop("output")
    result = write_result(
        args.output, experiment="evaluate_world_model", config=config, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    table = as_markdown(metrics)
    (args.output / "result.md").write_text(table + "\n")
    print(table)
    return result


def compared(comparison: DreamComparison, network: nn.Module | None) -> dict[str, float]:
    """PSNR, SSIM and LPIPS of dreamed frames, and of the last real frame repeated."""
    copied = np.broadcast_to(comparison.context[:, -1:], comparison.real.shape)
    copies = likeness(comparison.real, copied, network)
    dreamed = likeness(comparison.real, comparison.dreamed, network)
    return comparison.summary() | dreamed | {f"copy_{name}": value for name, value in copies.items()}


def refuse_early(args: Args, world: WorldModel, episodes: list[Episode]) -> None:
    """Says what cannot be measured before minutes are spent on measuring the rest."""
    refuse_unsteppable(world)
    check_denoising_steps(args.denoising_steps, world.config.dynamics.max_denoising_steps)
    refuse_other_worlds(episodes, world.config.dynamics, world.config.tokenizer.frame_size)
    long_enough(episodes, args.context + args.horizon, lambda _: None)
    refuse_training_seeds(episodes, args.recordings)
    longest = max(len(episode.image) for episode in episodes)
    if longest < args.long_dream + 1:
        raise ValueError(
            f"episodes of at most {longest} frames given, expected some of at least {args.long_dream + 1}, since long "
            "dreams follow recorded actions. Record longer ones, or pass a smaller --long-dream."
        )
    if args.elsewhere:
        refuse_elsewhere(args.elsewhere, world.config.dynamics)


def refuse_elsewhere(name: str, dynamics: LSSVWMConfig) -> None:
    """Opens the environment of --elsewhere once, to see now that it can be opened and takes the recorded actions."""
    leave_out = "Pass the id of the environment that was recorded, or --elsewhere '' to leave this measure out."
    try:
        env = gymnasium.make(name)
    except Exception as error:  # a bad id, a missing package, no display: each has its own kind
        raise ValueError(
            f"--elsewhere {name} cannot be opened ({type(error).__name__}: {error}). {leave_out}"
        ) from error
    actions = env.action_space
    env.close()
    if not takes(dynamics, actions):
        raise ValueError(
            f"--elsewhere {name} takes {actions}, expected {action_space_of(dynamics)}, as recorded. {leave_out}"
        )


def events(world: WorldModel, episodes: list[Episode]) -> dict[str, dict[str, float]]:
    """Recall and precision of rewards other than zero and of ends, on real frames observed in order.

    Those of ends are told to the frame, and to within two frames: where one step changes little, the frame before an
    end looks like it.
    """
    rewards, ends, there = predicted_events(world, episodes)
    real_rewards, real_ends = np.zeros(there.shape, bool), np.zeros(there.shape, bool)
    for row, episode in enumerate(episodes):
        real_rewards[row, : len(episode.reward)] = episode.reward != 0
        real_ends[row, len(episode.reward) - 1] = episode.terminated
    there[:, 0] = False  # no action led there
    predicted_rewards, predicted_ends = (rewards != 0) & there, ends & there
    metrics = {"reward_events": hits(real_rewards & there, predicted_rewards)}
    if real_ends.any() or predicted_ends.any():
        near = {f"{name}_within_2": v for name, v in hits(real_ends, predicted_ends, within=2).items()}
        near.pop("events_within_2")
        metrics["ends"] = hits(real_ends, predicted_ends) | near
    return metrics


def hits(real: NDArray[np.bool_], predicted: NDArray[np.bool_], within: int = 0) -> dict[str, float]:
    """Recall and precision of events `(episodes, frames)`, which count as found so many frames away."""

    def widened(at: NDArray[np.bool_]) -> NDArray[np.bool_]:
        wide = at.copy()
        for shift in range(1, within + 1):
            wide[:, shift:] |= at[:, :-shift]
            wide[:, :-shift] |= at[:, shift:]
        return wide

    found, right = (real & widened(predicted)).sum(), (predicted & widened(real)).sum()
    return {
        "events": int(real.sum()),
        "recall": int(found) / max(1, int(real.sum())),
        "precision": int(right) / max(1, int(predicted.sum())),
    }


def repeat_elsewhere(episodes: list[Episode], args: Args) -> NDArray[np.uint8]:
    """Frames of other real mazes under the actions of these episodes, `(episodes, frames, H, W, 3)`."""
    env = gymnasium.make(args.elsewhere or REAL_MAZE)
    frames = []
    for i, episode in enumerate(tqdm(episodes, desc="real mazes elsewhere", unit="episode")):
        env.reset(seed=ELSEWHERE_SEED + i)
        actions = [for_environment(env.action_space, action) for action in episode.action[1 : args.long_dream + 1]]
        frames.append([env.step(action)[0] for action in actions])
    env.close()
    return np.array(frames)


def as_markdown(metrics: dict[str, Any]) -> str:
    """The numbers as the card shows them; results of earlier releases have no SSIM."""
    pictures = [name for name in ("ssim", "lpips") if name in metrics["dream"]["1"]]
    names = [f" {name.upper()} |" for name in pictures]
    lines = [
        f"{metrics['episodes']} held-out episodes, {metrics['clips']} clips, border included. PSNR in dB: of the mean "
        "squared error over clips / mean over frames (none above 60).",
        "",
        f"| measure | first frame | first {metrics['horizon']} frames |{''.join(names)}",
        "|---|---|---|" + "---|" * len(pictures),
    ]
    rows = [(f"dream, {k} denoising step(s)", values, "") for k, values in metrics["dream"].items()]
    rows.append(("repeating the last real frame", metrics["dream"]["1"], "copy_"))
    for name, values, prefix in rows:
        cells = [
            f"{values[f'{prefix}psnr_{w}']:.2f} / {values[f'{prefix}mean_psnr_{w}']:.2f}" for w in ("first", "mean")
        ]
        cells += [f"{values[f'{prefix}{picture}']:.3f}" for picture in pictures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    events, long = metrics["reward_events"], metrics["long_dream"]
    scores = f"recall {events['recall']:.3f}, precision {events['precision']:.3f}"
    scores = scores if events["events"] else "there are none"
    real, last, rewards = long["real"], long["dreamed_by_quarter"][-1], long["reward_per_1000_steps"]
    columns = [real, *([long["real_elsewhere"]] if "real_elsewhere" in long else []), last]
    drifts = ", ".join(f"{name} " + " / ".join(f"{column[name]:.1f}" for column in columns) for name in real)
    elsewhere = " / of other real mazes under the same actions" if len(columns) == 3 else ""
    lines += [
        "",
        f"Tokenizer reconstruction: {metrics['tokenizer_psnr']:.2f} dB. Reward events on real frames "
        f"({events['events']}): {scores}. Grey levels of real frames{elsewhere} / of the last quarter of dreams of "
        f"{long['frames']} frames in {long['denoising_steps']} denoising step(s): {drifts}. Reward in 1000 steps "
        f"of the same actions, real / dreamed: {rewards['real']:.1f} / {rewards['dreamed']:.1f}.",
    ]
    if "ends" in metrics:
        told = metrics["ends"]
        lines += [
            "",
            f"Ends on real frames ({told['events']}): recall {told['recall']:.3f}, precision {told['precision']:.3f}; "
            f"within two frames {told['recall_within_2']:.3f} and {told['precision_within_2']:.3f}.",
        ]
    for name, which in REPLACED.items():
        if metrics.get(name):
            reach = ", ".join(f"{age} back {share:.2%}" for age, share in metrics[name].items())
            lines += ["", f"Change of the features by {which} of another episode, as a share of that by all: {reach}."]
    return "\n".join(lines)


def plot_psnr(comparisons: dict[int, DreamComparison], path: Path) -> None:
    """PSNR against the frame of the dream, one line a sampler."""
    figure, axis = plt.subplots(figsize=(6, 4))
    for k, comparison in comparisons.items():
        curve = psnr(comparison.real, comparison.dreamed).mean(0)
        axis.plot(range(1, len(curve) + 1), curve, label=f"{k} denoising steps")
    last = np.broadcast_to(comparison.context[:, -1:], comparison.real.shape)
    axis.plot(range(1, len(curve) + 1), psnr(comparison.real, last).mean(0), "k--", label="repeat the last frame")
    axis.set(xlabel="dreamed frame", ylabel="PSNR, dB", title="dream against reality, held-out mazes")
    axis.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def save_strip(comparisons: list[DreamComparison], path: Path) -> None:
    """Some clips: real frames, and below them what was dreamed, a row a sampler."""
    rows = []
    for i in np.linspace(0, len(comparisons[0].real) - 1, 4, dtype=int):
        rows += [
            np.concatenate(list(clip), 1) for clip in (comparisons[0].real[i], *(c.dreamed[i] for c in comparisons))
        ]
    save_image(np.concatenate(rows), 1, path)


def save_rows(frames: NDArray[np.uint8], path: Path) -> None:
    """Sixteen frames from each of several long sequences, a row a sequence."""
    every = max(1, frames.shape[1] // 16)
    save_image(np.concatenate([np.concatenate(list(row[::every][:16]), 1) for row in frames]), 2, path)


def save_image(pixels: NDArray[np.uint8], enlarge: int, path: Path) -> None:
    """Writes a PNG."""
    plt.imsave(path, pixels.repeat(enlarge, 0).repeat(enlarge, 1))


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
