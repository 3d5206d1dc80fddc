"""Clone a teacher from recordings, and judge the clone in dreams and in the real maze.

    python experiments/clone_behaviour.py --recordings recordings/explorer --validation recordings/explorer_validation
    python experiments/clone_behaviour.py --evaluate --forget-every 20

The teacher says what it would do at each frame of the recordings, whoever walked there: by default one that knows what
it has seen of the maze and nothing else. Best it walked itself, now and then pushed off its way: where others went, it
mostly wants to turn around. The clone sees what a world model makes of the frames, and remembers by an
LSTM. It never acts while it learns. Writes into OUTPUT: `policy.zip`, `training.json` and `cloning.json` after every
epoch (which `dream_ppo.py --start-from OUTPUT` goes on from), `stages/` with the policies of earlier epochs,
`result.json`, and `watched/`: what was made of the recordings, for the next run.
"""

import json
import math
import os
import time
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

import wmgym  # noqa: F401  (registers the ids)
from agents.behaviour_cloning import Demonstrations, clone_behaviour, score_clone, sharpen
from agents.comparison import as_table, compare_worlds
from agents.evaluate import RandomPolicy
from agents.exploration import WithBursts
from agents.forgetful import Forgetful
from agents.interfaces import Policy
from agents.results import RESULT_FILE, told_checkpoint, write_json, write_result
from agents.run_lock import only_run_in
from agents.sb3 import SB3Policy, load_ppo, make_ppo
from agents.teaching import NEEDED, TeacherName, ask_all
from agents.time_budget import TrainingProgress
from agents.training_folder import POLICY_FILE, read_training, save_training, settings_of_training
from agents.two_worlds import World, measure
from wmgym.arguments import SEEDS, Range, check_ranges
from wmgym.checkpoint import fingerprint, open_checkpoint, tokenizer_fingerprint
from wmgym.heap import keep_freed_memory
from wmgym.lessons import MIRRORED, check_one_length, keep_apart, state_in, usable_files
from wmgym.memory_maze_setup import import_memory_maze_tasks
from wmgym.plain_errors import plain_errors
from wmgym.recording import SEED_RANGES
from wmgym.watched_mazes import REAL_STEPS, refuse_other_world, watched_mazes
from wmgym.watched_recordings import place_watched, read_watched, watch_recordings

DREAM = "LSSVWM-MemoryMaze-v0"
CLONING_FILE = "cloning.json"
LEARNING = (
    "recordings", "validation", "observation", "recurrent", "mirror", "teacher", "epochs", "learning_rate", "dropout",
    "hidden", "temperature", "seed",
)  # fmt: skip
"""Settings that a policy keeps when it is judged again."""
RANGES: dict[str, Range] = {
    "epochs": (1, math.inf), "learning_rate": (0, 1), "dropout": (0, 0.99), "temperature": (1e-3, 1e3),
    "hidden": (1, 65_536), "bursts": (0, 1), "steps": (1, REAL_STEPS), "real_episodes": (0, math.inf),
    "dream_episodes": (1, math.inf), "forget_every": (1, math.inf), "workers": (1, math.inf), "seed": SEEDS,
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    """Clone a teacher from recordings, and judge the clone in dreams and in the real maze."""

    recordings: tuple[Path, ...] = ()
    """Folders of training episodes, from collect_episodes.py; needed, unless --evaluate is given."""
    validation: Path | None = None
    """Folder of episodes to tell on how well the teacher is cloned; needed, unless --evaluate is given."""
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
    teacher: TeacherName = "explorer"
    """Who says what to do: one that uses what it has seen, or one that knows where the target is."""
    epochs: int = 12
    """Times that every step is learned from."""
    learning_rate: float = 1e-3
    """Of Adam, at the beginning."""
    dropout: float = 0.2
    """Share of what is seen of a frame that is hidden while learning, against learning mazes by heart."""
    hidden: int = 512
    """Numbers that the LSTM remembers."""
    temperature: float = 1.0
    """Of the actions that are drawn, once all is learned: the log odds are divided by it."""
    bursts: float = 0.02
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
    forget_every: int | None = None
    """Play the real maze once more with all memory, the policy's and the world model's, emptied after so many steps."""
    evaluate: bool = False
    """Learn nothing: judge the policy in OUTPUT again, and write there, over the result before. It takes the settings
    that it learned with, recordings included; one on latents fits every --checkpoint with the tokenizer of its own."""
    seed: int = 0
    """Fixes weights, order and actions."""


def main(args: Args) -> dict[str, Any]:
    """Watch the recordings, clone, evaluate and write; return the result."""
    started = time.monotonic()
    check_ranges(args, RANGES)
    keep_freed_memory()
    args = prepared(args)
    files = {} if args.evaluate else files_of(args)
    with only_run_in(args.output):
        return clone_and_judge(args, files, started)


def clone_and_judge(args: Args, files: dict[str, list[Path]], started: float) -> dict[str, Any]:
    """Do so in the folder of the output, which is there."""
    with closing(make_dreams(args)) as dreams:
        kept = args.output / POLICY_FILE
        learner = load_ppo(kept, recurrent=args.recurrent) if args.evaluate else learn(args, files, dreams)
        space = dreams.single_action_space

        def explore(policy: Policy) -> Policy:
            return WithBursts(policy, space, start=args.bursts, seed=args.seed)

        clone, every = f"clone of {args.teacher}", args.forget_every
        compared = partial(measure, steps=args.steps, seed=SEED_RANGES[args.mazes].start)
        blind = worlds_of(args, dreams, "pixels")  # for what looks at nothing
        random = f"random policy{' with bursts' if args.bursts else ''}"
        found = {random: compared(random, lambda: explore(RandomPolicy(space, args.seed)), blind)}
        seen = worlds_of(args, dreams, args.observation)
        found[clone] = compared(clone, lambda: explore(SB3Policy(learner, args.seed)), seen)
        if every is not None and args.real_episodes:
            name, real = (
                f"{clone}, memory emptied every {every} steps",
                worlds_of(args, dreams, args.observation, every),
            )
            found[name] = compared(
                name, lambda: explore(Forgetful(SB3Policy(learner, args.seed), every)), {"real": real["real"]}
            )
    metrics = compare_worlds(found) | read_cloning(args.output)
    learned_with = {"learned_with": read_training(args.output)["config"]["world_model"]}
    result = write_result(
        args.output, experiment="clone_behaviour", config=settings_of(args) | learned_with, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    print(f"\n{as_table(metrics)}\nEverything is in {args.output}.")
    return result


def prepared(args: Args) -> Args:
    """Return arguments with what the cloning before decided, if that is to be judged again; refuse now what would fail.

    Raises:
        DependencyError: The real maze is to be played, and not installed.
        FileNotFoundError: There is no cloning before.
        ValueError: It was with another world model, or is damaged, or the checkpoint is of another world than a maze.
    """
    advice = "teachers know its walls and targets only. Fix: dream_ppo.py, which learns in any world."
    refuse_other_world(args.checkpoint, "cloning", advice)
    if args.real_episodes:
        import_memory_maze_tasks()  # if it is not installed, say so now
    if not args.evaluate:
        if not args.recordings or args.validation is None:
            raise ValueError(
                "no --recordings or no --validation given, expected folders of episodes to learn from, and one of "
                "held-out mazes. Fix: record them with experiments/collect_episodes.py --walkers explorer, or judge a "
                "clone that is there with --evaluate."
            )
        return args
    world_model, tokenizer = fingerprint(args.checkpoint), tokenizer_fingerprint(args.checkpoint)
    kept = settings_of_training(args.output, world_model, LEARNING, tokenizer=tokenizer)
    read_cloning(args.output)  # if it is damaged, say so now
    places = {"recordings": tuple(map(Path, kept["recordings"])), "validation": Path(kept["validation"])}
    return replace(args, **kept | places)  # of which only names are known, to be told again


def read_cloning(folder: Path) -> dict[str, Any]:
    """Return what was written of how well the teacher is cloned.

    Raises:
        ValueError: It is missing or damaged.
    """
    path = folder / CLONING_FILE
    try:
        found: dict[str, Any] = dict(json.loads(path.read_text()))
        return {name: found[name] for name in ("frames", "mirrored", "teachers_actions", "cloning")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error!r}), expected how well the teacher is cloned, as a cloning "
            "leaves it beside its policy. Clone again."
        ) from error


def files_of(args: Args) -> dict[str, list[Path]]:
    """Return the episodes to learn from, and those to tell on how well; refuse those that will not do.

    Raises:
        RecordingError: There are none, they are not kept apart, or not of one length.
    """
    assert args.validation is not None  # see prepared()
    files = {"train": usable_files(args.recordings), "validation": usable_files((args.validation,))}
    keep_apart(files["train"], files["validation"])
    for name, paths in files.items():
        check_one_length(paths, name)
    return files


def learn(args: Args, files: dict[str, list[Path]], dreams: Any) -> Any:
    """Clone, save, and return the learner."""
    sizes = {"lstm_hidden_size": args.hidden} if args.recurrent else {}
    learner = make_ppo(dreams, seed=args.seed, recurrent=args.recurrent, policy_kwargs=sizes | {"net_arch": [128]})
    labels = {name: ask(args, name, paths) for name, paths in files.items()}
    taught, unseen = (demonstrations(args, name, files[name], labels[name]) for name in ("train", "validation"))
    recorded = labels["train"].size
    known = {"frames": recorded, "mirrored": args.mirror, "teachers_actions": shares_of(unseen.actions)}
    progress = train(args, learner, taught, unseen, known)
    sharpen(learner, args.temperature)
    save_training(args.output, settings_of(args), learner, progress)
    return learner


def shares_of(actions: NDArray[np.int64]) -> list[float]:
    """Return how often each action occurs."""
    return [float(share) for share in np.bincount(actions.ravel()) / actions.size]


def ask(args: Args, name: str, files: list[Path]) -> NDArray[np.int64]:
    """Return what the teacher would have done at each frame of some episodes."""
    answers = ask_all(args.teacher, files, partial(state_in, keys=NEEDED), args.workers, tqdm, name)
    return np.stack([each.actions for each in answers])


def demonstrations(args: Args, name: str, files: list[Path], actions: NDArray[np.int64]) -> Demonstrations:
    """Return what the policy would have seen in episodes, beside the teacher's actions; mirrored ones come last."""
    world = open_checkpoint(args.checkpoint).world
    place = place_watched(args.output, args.observation, args.checkpoint)
    sides = [None, MIRRORED] if args.mirror and name == "train" else [None]
    with tqdm(desc=f"{args.observation}, {name}", unit="frame", unit_scale=True) as bar:
        watched = [watch_recordings(world, files, place, args.observation, side, bar.update) for side in sides]
    chosen = [actions if side is None else np.array(side)[actions] for side in sides]
    return Demonstrations(read_watched([file for side in watched for file in side]), np.concatenate(chosen))


def train(
    args: Args, learner: Any, taught: Demonstrations, unseen: Demonstrations, known: dict[str, Any]
) -> TrainingProgress:
    """Clone; save the policy after every epoch, and how well it does what the teacher does, beside what is known."""
    curve: list[dict[str, float]] = []
    started, progress = time.monotonic(), TrainingProgress()
    (args.output / "stages").mkdir(parents=True, exist_ok=True)
    if (args.output / POLICY_FILE).exists():
        print(f"{args.output} holds the policy of an earlier run: it is replaced.")
    for stale in [*(args.output / "stages").glob("*.zip"), args.output / RESULT_FILE]:
        stale.unlink(missing_ok=True)  # of another run
    with tqdm(desc="cloning", unit="update") as bar:

        def on_update(loss: float) -> None:
            progress.steps, progress.seconds = progress.steps + 1, time.monotonic() - started
            bar.update()
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)

        def on_epoch(epoch: int) -> None:
            score = score_clone(learner, unseen)
            curve.append({"epoch": epoch, "accuracy": score.accuracy, "loss": score.loss})
            bar.write(f"epoch {epoch}: the teacher's action is the likeliest at {100 * score.accuracy:.1f} % of steps")
            save_training(args.output, settings_of(args), learner, progress)
            write_json(args.output / CLONING_FILE, known | {"cloning": curve})
            learner.save(args.output / "stages" / f"epoch-{epoch}.zip")

        clone_behaviour(
            learner, taught, epochs=args.epochs, seed=args.seed, learning_rate=args.learning_rate, dropout=args.dropout,
            on_update=on_update, on_epoch=on_epoch,
        )  # fmt: skip
    return progress


def make_dreams(args: Args) -> Any:
    """Return dreams to evaluate in."""
    return gymnasium.make_vec(
        DREAM, min(args.dream_episodes, 64), checkpoint=args.checkpoint, observation=args.observation,
        max_episode_steps=args.steps,
    )  # fmt: skip


def worlds_of(args: Args, dreams: Any, observation: str, forget_every: int | None = None) -> dict[str, World]:
    """Return dreams, and the real maze as the policy will see it."""
    workers = min(args.workers, max(1, args.real_episodes))
    mazes = partial(
        watched_mazes, workers, args.steps, checkpoint=args.checkpoint, observation=observation,
        forget_every=forget_every,
    )  # fmt: skip
    return {
        "imagined": World(lambda: nullcontext(dreams), args.dream_episodes),
        "real": World(lambda: closing(mazes()), args.real_episodes),
    }


def settings_of(args: Args) -> dict[str, Any]:
    """Return what decides the result, without where things lie on this machine."""
    chosen = asdict(args)
    del chosen["output"], chosen["workers"], chosen["evaluate"]
    chosen["recordings"] = [folder.name for folder in args.recordings]
    chosen["validation"] = args.validation and args.validation.name
    if args.checkpoint is not None:
        chosen["checkpoint"] = told_checkpoint(args.checkpoint)
    chosen |= {"world_model": fingerprint(args.checkpoint), "tokenizer": tokenizer_fingerprint(args.checkpoint)}
    return chosen | {"denoising_steps": 1, "precision": "float32"}


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
