"""Clone a teacher from recordings, and judge the clone in dreams and in the real maze.

    python experiments/clone_behaviour.py --recordings recordings/train --validation recordings/validation

The teacher says what it would do at each frame of the recordings, whoever walked there: by default one that knows what
it has seen of the maze and nothing else. The clone sees what a world model makes of the frames, and remembers by an
LSTM. It never acts while it learns. Writes into OUTPUT: `policy.zip` and `training.json` after every epoch (which
`dream_ppo.py --evaluate OUTPUT --recurrent` takes), `stages/` with the policies of earlier epochs, `result.json`, and
`watched/`: what was made of the recordings, for the next run.
"""

import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

import wmgym  # noqa: F401  (registers the ids)
from agents.behaviour_cloning import Demonstrations, clone_behaviour, score_clone
from agents.comparison import as_table, compare_worlds
from agents.evaluate import Evaluation, RandomPolicy, evaluate
from agents.exploration import WithBursts
from agents.explorer import Explorer
from agents.interfaces import Policy
from agents.results import write_result
from agents.sb3 import SB3Policy, make_ppo
from agents.teaching import NEEDED, teach
from agents.time_budget import TrainingProgress
from agents.training_folder import save_training
from agents.walkers import TargetSeeker
from model.checkpoint import find_checkpoint, weights_digest
from wmgym.arguments import Range, check_ranges
from wmgym.checkpoint import DEFAULT_CHECKPOINT, open_checkpoint
from wmgym.errors import RecordingError
from wmgym.heap import keep_freed_memory
from wmgym.recording import SEED_RANGES, read_state, scan
from wmgym.watched_mazes import REAL_STEPS, watched_mazes
from wmgym.watched_recordings import read_watched, watch_recordings

DREAM = "LSSVWM-MemoryMaze-v0"
MIRRORED = (0, 1, 3, 2, 5, 4)
"""Memory Maze's actions, left for right."""
TEACHERS = {"explorer": Explorer, "target_seeker": TargetSeeker}
RANGES: dict[str, Range] = {
    "epochs": (1, math.inf), "learning_rate": (0, 1), "dropout": (0, 0.99), "hidden": (1, 65_536), "bursts": (0, 1),
    "steps": (1, REAL_STEPS), "real_episodes": (0, math.inf), "dream_episodes": (1, math.inf),
    "workers": (1, math.inf),
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    """Clone a teacher from recordings, and judge the clone in dreams and in the real maze."""

    recordings: tuple[Path, ...]
    """Folders of training episodes, from collect_episodes.py."""
    validation: Path
    """Folder of episodes to tell on how well the teacher is cloned."""
    output: Path = Path("runs/clone_behaviour")
    """Folder for everything that is written."""
    checkpoint: str | None = None
    """World model: a folder or a Hugging Face Hub id; the shipped one by default."""
    observation: Literal["latent", "features"] = "latent"
    """What the policy sees of a frame: latents get a small convolutional network."""
    recurrent: bool = True
    """Remember by an LSTM."""
    mirror: bool = True
    """Learn from all episodes a second time, left for right: twice as many mazes."""
    teacher: Literal["explorer", "target_seeker"] = "explorer"
    """Who says what to do: one that uses what it has seen, or one that knows where the target is."""
    epochs: int = 8
    """Times that every step is learned from."""
    learning_rate: float = 1e-3
    """Of Adam, at the beginning."""
    dropout: float = 0.3
    """Share of what is seen of a frame that is hidden while learning, against learning mazes by heart."""
    hidden: int = 256
    """Numbers that the LSTM remembers."""
    bursts: float = 0.08
    """Probability, at a step of evaluation, that one random action begins to be repeated 2 to 8 times; 0: never."""
    steps: int = REAL_STEPS
    """Steps of an episode in evaluation, in both worlds."""
    dream_episodes: int = 16
    """Episodes to evaluate a policy in dreams."""
    real_episodes: int = 20
    """Episodes to evaluate a policy in the real maze; 0 leaves it out, and needs no memory-maze."""
    mazes: Literal["validation", "test"] = "test"
    """Which held-out real mazes; choose settings on validation only."""
    workers: int = os.cpu_count() or 1
    """Processes that ask the teacher, and that run the real maze."""
    seed: int = 0
    """Fixes weights, order and actions."""


def main(args: Args) -> dict[str, Any]:
    """Watch the recordings, clone, evaluate and write; return the result."""
    started = time.monotonic()
    check_ranges(args, RANGES)
    keep_freed_memory()
    taught, unseen = (demonstrations(args, name, folders) for name, folders in (
        ("train", args.recordings), ("validation", (args.validation,)),
    ))  # fmt: skip
    with closing(make_dreams(args)) as dreams:
        sizes = {"lstm_hidden_size": args.hidden} if args.recurrent else {}
        learner = make_ppo(dreams, seed=args.seed, recurrent=args.recurrent, policy_kwargs=sizes | {"net_arch": [128]})
        curve = train(args, learner, taught, unseen)
        space = dreams.single_action_space

        def explore(policy: Policy) -> Policy:
            return WithBursts(policy, space, start=args.bursts, seed=args.seed)

        found = {
            name: measure(name, make, dreams, args)
            for name, make in (
                ("random policy with bursts", lambda: explore(RandomPolicy(space, args.seed))),
                (f"clone of {args.teacher}", lambda: explore(SB3Policy(learner, args.seed))),
            )
        }
    metrics = compare_worlds(found) | {"cloning": curve, "frames": taught.actions.size}
    metrics["teachers_actions"] = (np.bincount(unseen.actions.ravel()) / unseen.actions.size).tolist()
    result = write_result(
        args.output, experiment="clone_behaviour", config=settings_of(args), seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    print(f"\n{as_table(metrics)}\nEverything is in {args.output}.")
    return result


def demonstrations(args: Args, name: str, folders: tuple[Path, ...]) -> Demonstrations:
    """Return what the policy would have seen in all episodes of some folders, and what the teacher would have done."""
    files = [path for folder in folders for path in scan(folder).usable]
    if not files:
        raise RecordingError(
            f"no episode in {', '.join(map(str, folders))}, expected some. Record with experiments/collect_episodes.py."
        )
    world = open_checkpoint(args.checkpoint).world
    place = args.output / "watched" / f"{args.observation}-{fingerprint(args)}"
    sides = [None, MIRRORED] if args.mirror and name == "train" else [None]
    with tqdm(desc=f"{args.observation}, {name}", unit="frame", unit_scale=True) as bar:
        watched = [watch_recordings(world, files, place, args.observation, side, bar.update) for side in sides]
    with ProcessPoolExecutor(args.workers) as pool:
        asked = pool.map(ask, [args.teacher] * len(files), files)
        actions = np.stack(list(tqdm(asked, total=len(files), desc=f"{args.teacher}, {name}", unit="episode")))
    chosen = [actions if side is None else np.array(side)[actions] for side in sides]
    return Demonstrations(read_watched([file for side in watched for file in side]), np.concatenate(chosen))


def ask(teacher: str, file: Path) -> NDArray[np.int64]:
    """Return what a teacher would have done in an episode."""
    state, _, _ = read_state(file, NEEDED)
    return teach(TEACHERS[teacher](np.random.default_rng(0)), state)


def train(args: Args, learner: Any, taught: Demonstrations, unseen: Demonstrations) -> list[dict[str, float]]:
    """Clone; save the policy after every epoch, and how well it does what the teacher does."""
    curve: list[dict[str, float]] = []
    started, updates = time.monotonic(), 0
    (args.output / "stages").mkdir(parents=True, exist_ok=True)
    with tqdm(desc="cloning", unit="update") as bar:

        def on_update(loss: float) -> None:
            nonlocal updates
            updates += 1
            bar.update()
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)

        def on_epoch(epoch: int) -> None:
            score = score_clone(learner, unseen)
            curve.append({"epoch": epoch, "accuracy": score.accuracy, "loss": score.loss})
            bar.write(f"epoch {epoch}: the teacher's action is the likeliest at {100 * score.accuracy:.1f} % of steps")
            progress = TrainingProgress(updates, time.monotonic() - started)
            save_training(args.output, settings_of(args), learner, progress)
            learner.save(args.output / "stages" / f"epoch-{epoch}.zip")

        clone_behaviour(
            learner, taught, epochs=args.epochs, seed=args.seed, learning_rate=args.learning_rate, dropout=args.dropout,
            on_update=on_update, on_epoch=on_epoch,
        )  # fmt: skip
    return curve


def make_dreams(args: Args) -> Any:
    """Return dreams to evaluate in."""
    return gymnasium.make_vec(
        DREAM, min(args.dream_episodes, 64), checkpoint=args.checkpoint, observation=args.observation,
        max_episode_steps=args.steps,
    )  # fmt: skip


def measure(name: str, make_policy: Any, dreams: Any, args: Args) -> dict[str, Evaluation]:
    """Evaluate a policy, made anew for each world, in dreams and, if wanted, in the real maze."""
    seed, found = SEED_RANGES[args.mazes].start, {}
    with tqdm(total=args.dream_episodes * args.steps, unit="step", desc=f"{name}, imagined") as bar:
        found["imagined"] = evaluate(make_policy(), dreams, episodes=args.dream_episodes, seed=seed, on_step=bar.update)
    if args.real_episodes:
        mazes = watched_mazes(
            min(args.workers, args.real_episodes), args.steps, checkpoint=args.checkpoint, observation=args.observation
        )
        with closing(mazes), tqdm(total=args.real_episodes * args.steps, unit="step", desc=f"{name}, real") as bar:
            found["real"] = evaluate(make_policy(), mazes, episodes=args.real_episodes, seed=seed, on_step=bar.update)
    return found


def settings_of(args: Args) -> dict[str, Any]:
    """Return what decides the result, without where things lie on this machine."""
    chosen = asdict(args)
    del chosen["output"], chosen["workers"]
    chosen["recordings"] = [folder.name for folder in args.recordings]
    chosen["validation"] = args.validation.name
    if args.checkpoint is not None:
        chosen["checkpoint"] = Path(args.checkpoint).name
    return chosen | {"world_model": fingerprint(args), "denoising_steps": 1, "precision": "float32"}


def fingerprint(args: Args) -> str:
    """Return what tells a world model from all others, whatever its folder is called."""
    return weights_digest(find_checkpoint(args.checkpoint or DEFAULT_CHECKPOINT))[:16]


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
