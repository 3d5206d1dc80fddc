"""Train a critic for plan_mpc.py: what going on like the walker of some recordings would return.

    python experiments/train_critic.py --recordings recordings/explorer --validation recordings/explorer_validation
    python experiments/plan_mpc.py --critic runs/critic

A planner looks a dozen steps ahead; most of what a maze has to give lies beyond. The critic says what a dreamed frame
is worth: it learns from recorded episodes and their rewards the discounted return that came after each frame, given
what a world model shows of it. Features carry the model's memory, so it may know what lies around the corner. What it
tells is the walker's own future, so it is worth what the walker is: record a good one with
`collect_episodes.py --walkers explorer`.

Writes into OUTPUT: `critic.safetensors` and `critic.json`, `result.json` with the explained variance on held-out
episodes, and `watched/`: what was made of the recordings, for the next run. Ctrl-C loses what was learned, not that.
"""

import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from agents.critic_folder import save_critic
from agents.results import told_checkpoint, write_result
from agents.return_critic import CriticSettings, ReturnCritic, explained_variance, fit_critic
from agents.returns_to_come import known_frames, returns_to_come
from agents.run_lock import only_run_in
from wmgym.arguments import SEEDS, Range, check_ranges
from wmgym.checkpoint import fingerprint, open_checkpoint
from wmgym.dreamed_recordings import dream_recordings
from wmgym.errors import RecordingError
from wmgym.heap import keep_freed_memory
from wmgym.lessons import MIRRORED, check_one_length, keep_apart, refuse_to_mirror_others, usable_files
from wmgym.plain_errors import plain_errors
from wmgym.recording import read_state
from wmgym.watched_mazes import refuse_other_world
from wmgym.watched_recordings import place_watched, read_watched, watch_recordings

RANGES: dict[str, Range] = {
    "discount": (0, 1), "epochs": (1, math.inf), "learning_rate": (0, 1), "dropout": (0, 0.99), "hidden": (1, 65_536),
    "dream_steps": (0, math.inf), "seed": SEEDS,
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    """Train a critic for plan_mpc.py: what going on like the walker of some recordings would return."""

    recordings: tuple[Path, ...]
    """Folders of training episodes with rewards, from collect_episodes.py."""
    validation: Path
    """Folder of episodes to tell on how much the critic knows."""
    output: Path = Path("runs/critic")
    """Folder for everything that is written."""
    checkpoint: str | None = None
    """World model: a folder or a Hugging Face Hub id; the shipped one by default."""
    observation: Literal["features", "latent"] = "features"
    """What the critic sees of a frame; features carry the model's memory, latents are the frame alone."""
    dream_steps: int = 12
    """Learn as well from frames that are dreamed on from recorded ones, under the recorded actions, for up to so many
    steps: a planner asks for the worth of such, which are paler. 0: from observed frames only."""
    discount: float = 0.97
    """Of a step. 0.97 counts a reward 23 steps away half; the planner takes the same."""
    mirror: bool = True
    """Learn from all episodes a second time, left for right: twice as many mazes, and twice as long to watch.
    --no-mirror for other worlds than mazes: it is not known which of their actions go left and which right."""
    epochs: int = 6
    """Times that every frame is learned from."""
    learning_rate: float = 1e-3
    """Of AdamW, at the beginning."""
    dropout: float = 0.2
    """Share of the hidden layers that is hidden while learning, against learning mazes by heart."""
    hidden: int = 256
    """Width of the two hidden layers."""
    seed: int = 0
    """Fixes weights and order."""


def main(args: Args) -> dict[str, Any]:
    """Watch the recordings, fit, tell and write; return the result."""
    started = time.monotonic()
    check_ranges(args, RANGES)
    keep_freed_memory()
    if args.mirror:
        advice = "it is not known which actions of others go left and which right. Fix: --no-mirror."
        refuse_other_world(args.checkpoint, "--mirror", advice)
    files = {"train": usable_files(args.recordings), "validation": usable_files((args.validation,))}
    keep_apart(files["train"], files["validation"])
    if args.mirror:
        refuse_to_mirror_others(files["train"])
    for name, each in files.items():
        check_one_length(each, name)
    rewards = {name: rewards_of(each) for name, each in files.items()}
    known = {name: known_frames(each.shape[1], args.discount) for name, each in rewards.items()}
    with only_run_in(args.output):
        return learn(args, files, rewards, known, started)


def learn(
    args: Args, files: dict[str, list[Path]], rewards: dict[str, NDArray[np.float32]], known: dict[str, int],
    started: float,
) -> dict[str, Any]:  # fmt: skip
    """Watch the first `known` frames of each episode, fit, tell and write; return the result."""
    shown = {name: watched(args, each, name) for name, each in files.items()}
    seen = np.concatenate(list(shown["train"].values()))[:, : known["train"]]
    told = {kind: each[:, : known["validation"]] for kind, each in shown["validation"].items()}
    once = returns_to_come(rewards["train"], args.discount)[:, : known["train"]]
    returns = np.tile(once, (len(seen) // len(once), 1))
    returns_unseen = returns_to_come(rewards["validation"], args.discount)[:, : known["validation"]]

    def knows(critic: ReturnCritic) -> dict[str, float]:
        return {kind: explained_variance(critic, each, returns_unseen) for kind, each in told.items()}

    curve: list[dict[str, float]] = []
    with tqdm(total=args.epochs, desc="critic", unit="epoch") as bar:

        def on_epoch(epoch: int, critic: ReturnCritic) -> None:
            curve.append({"epoch": epoch} | knows(critic))
            bar.update()
            bar.set_postfix(explained_variance=f"{curve[-1]['observed']:.3f}", refresh=False)

        settings = CriticSettings(
            tuple(seen.shape[2:]), hidden=args.hidden, dropout=args.dropout, epochs=args.epochs,
            learning_rate=args.learning_rate,
        )  # fmt: skip
        critic = fit_critic(settings, seen, returns, seed=args.seed, on_epoch=on_epoch)
    metrics = {
        "explained_variance": knows(critic),
        "explained_variance_train": explained_variance(critic, seen, returns),
        "curve": curve,
        "mean_return": float(returns.mean()),
        "return_std": float(returns.std()),
        "frames": int(returns.size),
        "rewards_an_episode": float(rewards["train"].sum(axis=1).mean()),
    }
    config = settings_of(args)
    facts = {key: config[key] for key in ("discount", "observation", "world_model")}
    save_critic(args.output, critic, facts | {"explained_variance": metrics["explained_variance"]})
    minutes = (time.monotonic() - started) / 60
    result = write_result(
        args.output, experiment="train_critic", config=config, seed=args.seed, minutes=minutes, metrics=metrics
    )
    print(
        "Share of the variance of what comes after a frame that is explained: in held-out episodes "
        + ", ".join(f"{share:.0%} from {kind} frames" for kind, share in metrics["explained_variance"].items())
        + f"; in those learned from {metrics['explained_variance_train']:.0%}. Everything is in {args.output}."
    )
    return result


def rewards_of(files: list[Path]) -> NDArray[np.float32]:
    """Return the rewards of episodes of one length, `[episodes t]`; refuse those without any."""
    rewards = np.stack([read_state(file, ("reward",))[0]["reward"] for file in files])
    if not rewards.any():
        raise RecordingError(
            f"no reward in {len(files)} episodes such as {files[0]}, expected some: there is nothing to learn. Fix: "
            "record a walker that finds rewards, collect_episodes.py --walkers explorer."
        )
    return rewards


def watched(args: Args, files: list[Path], name: str) -> dict[str, NDArray[np.float16]]:
    """Return what the critic would have seen in episodes, "observed" and "dreamed", mirrored ones last."""
    world, place = open_checkpoint(args.checkpoint).world, place_watched(args.output, args.observation, args.checkpoint)
    sides = [None, MIRRORED] if args.mirror and name == "train" else [None]
    with tqdm(desc=f"{args.observation}, {name}", unit="frame", unit_scale=True) as bar:
        watch = partial(watch_recordings, world, files, place, args.observation, progress=bar.update)
        found = {"observed": [file for side in sides for file in watch(mirror=side)]}
        if args.dream_steps:
            model = f"{args.observation}-{fingerprint(args.checkpoint)}"
            place = place.parent / f"{model}-{args.dream_steps}-dreamed"
            dream = partial(dream_recordings, world, files, place, args.observation, args.dream_steps)
            found["dreamed"] = [file for side in sides for file in dream(mirror=side, progress=bar.update)]
    return {kind: read_watched(paths) for kind, paths in found.items()}


def settings_of(args: Args) -> dict[str, Any]:
    """Return what decides the result, without where things lie on this machine."""
    chosen = asdict(args)
    del chosen["output"]
    chosen["recordings"] = [folder.name for folder in args.recordings]
    chosen["validation"] = args.validation.name
    if args.checkpoint is not None:
        chosen["checkpoint"] = told_checkpoint(args.checkpoint)
    return chosen | {"world_model": fingerprint(args.checkpoint)}


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
