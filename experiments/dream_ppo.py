"""Train PPO in dreams only, then measure it in dreams and in the real maze: is the dream to be trusted?

    python experiments/dream_ppo.py --preset demo
    python experiments/dream_ppo.py --evaluate runs/dream_ppo

Writes into OUTPUT: `policy.zip` and `training.json` (once a minute while training, so a killed run can still
be evaluated), `result.json`, `dream_ppo.png`, `dream_beside_reality.gif` and TensorBoard events. Ctrl-C ends
the training early and goes on to the evaluation.

Both policies, random and PPO, are measured by the same code in both worlds: episodes of the same length, each
from one real first frame; the real mazes are of seeds that no recording for training has. `policy.zip` is
Stable-Baselines3's own format, which has pickled parts: evaluate only folders that you trust.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import matplotlib
import numpy as np
import torch
import tyro
from gymnasium.vector import AsyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from stable_baselines3.common.base_class import BaseAlgorithm
from tqdm import tqdm

import wmgym
from agents.comparison import as_table, compare_worlds
from agents.evaluate import Evaluation, RandomPolicy, evaluate
from agents.interfaces import Policy
from agents.results import write_json, write_result
from agents.sb3 import SB3Policy, load_ppo, make_ppo
from agents.time_budget import TimeBudget, TrainingProgress
from model.checkpoint import find_checkpoint, weights_digest
from wmgym.checkpoint import DEFAULT_CHECKPOINT, open_checkpoint
from wmgym.recording import SEED_RANGES
from wmgym.wrappers import WorldModelObservation

matplotlib.use("Agg")
from matplotlib import pyplot as plt

DREAM = "LSSVWM-MemoryMaze-v0"
REAL = "wmgym/MemoryMaze-9x9-v0"
REAL_STEPS = 1000
POLICY_FILE, TRAINING_FILE = "policy.zip", "training.json"
RESERVE = 30.0  # seconds kept for pictures, loading and saving

Preset = Literal["demo", "full", "tiny"]


@dataclass(frozen=True)
class Args:
    """Train PPO in dreams only, then measure it in dreams and in the real maze."""

    preset: Preset = "demo"
    """Defaults of all the rest: demo (10 minutes on 2 cores), full (hours), tiny (seconds, for tests)."""

    output: Path = Path("runs/dream_ppo")
    """Folder for everything that is written."""

    evaluate: Path | None = None
    """Train nothing: evaluate the policy in this folder again, and write there."""

    checkpoint: str | None = None
    """World model: a folder or a Hugging Face Hub id; the shipped one by default."""

    observation: Literal["features", "latent", "pixels"] = "features"
    """What the policy sees. Features carry the model's memory; pixels get a convolutional network."""

    recurrent: bool = False
    """Learn with RecurrentPPO, which has a memory of its own; meant for pixels and latents."""

    minutes: float = 8.5
    """For the whole run: training gets what evaluation leaves, which the random policy tells beforehand."""

    num_envs: int = 64
    """Dreams trained in at once."""

    horizon: int = 32
    """Steps of a dream in training; then another one starts. Short ones stay near reality."""

    starts: Literal["clips", "first_frames"] = "clips"
    """Where dreams start in training: in recorded clips, most of them shortly before a reward, or as episodes do."""

    denoising_steps: int = 2
    """Sampler steps for a dreamed frame, in training and evaluation."""

    learning_rate: float = 1e-3
    """PPO's."""

    rollout: int = 32
    """Steps of each dream from one update of the policy to the next."""

    discount: float = 0.97
    """PPO's gamma."""

    entropy: float = 0.01
    """Weight of PPO's entropy bonus, which keeps it exploring."""

    steps: int = REAL_STEPS // 2
    """Steps of an episode in evaluation, in both worlds; at most 1,000, the real maze's limit."""

    dream_episodes: int = 16
    """Episodes to evaluate a policy in dreams."""

    real_episodes: int = 10
    """Episodes to evaluate a policy in the real maze; 0 leaves it out, and needs no memory-maze."""

    mazes: Literal["validation", "test"] = "test"
    """Which held-out real mazes; choose settings on validation only."""

    workers: int = os.cpu_count() or 1
    """Processes that run the real maze."""

    device: str = "cpu"
    """Where to dream: cpu or cuda."""

    seed: int = 0
    """Fixes weights, actions and dreams, but not how many steps fit into the minutes."""


PRESETS: dict[Preset, Args] = {
    "demo": Args(),
    "full": Args(preset="full", minutes=180.0, steps=REAL_STEPS, dream_episodes=128, real_episodes=100),
    "tiny": Args(
        preset="tiny", output=Path("runs/dream_ppo_tiny"), minutes=0.05, num_envs=4, horizon=8, steps=20,
        dream_episodes=4, real_episodes=1, workers=1,
    ),
}  # fmt: skip


def main(args: Args) -> dict[str, Any]:
    """Train if asked to, evaluate, write and print; return the result."""
    started = time.monotonic()
    if not 1 <= args.steps <= REAL_STEPS:
        raise ValueError(f"--steps {args.steps} given, expected 1 to {REAL_STEPS}, a whole real episode.")
    if args.evaluate is not None:
        args = with_settings_of(args.evaluate, args)
    else:
        open_checkpoint(args.checkpoint).starts(args.starts)  # if there are none, say so now
    with ExitStack() as stack:
        worlds = {world: stack.enter_context(closing(env)) for world, env in make_worlds(args).items()}
        space = worlds["imagined"].single_action_space
        random = measure("random policy", lambda: RandomPolicy(space, args.seed), worlds, args)
        if args.evaluate is None:
            left = 60 * args.minutes - RESERVE - 2 * (time.monotonic() - started)
            train(args, max(left, 60 * args.minutes / 4))
        learner = load_ppo(args.output / POLICY_FILE, recurrent=args.recurrent)
        ppo = measure("PPO from dreams", lambda: SB3Policy(learner, args.seed), worlds, args)
    metrics = compare_worlds({"random policy": random, "PPO trained in dreams": ppo})
    metrics["training"] = json.loads((args.output / TRAINING_FILE).read_text())["progress"]
    plot(metrics, args.output / "dream_ppo.png")
    if args.real_episodes:
        save_side_by_side(args, SB3Policy(learner, args.seed), args.output / "dream_beside_reality.gif")
    result = write_result(
        args.output, experiment="dream_ppo", config=settings_of(args), seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    print(f"\n{as_table(metrics)}\nEverything is in {args.output}; curves: tensorboard --logdir {args.output}")
    return result


def make_worlds(args: Args) -> dict[str, VectorEnv[Any, Any, Any]]:
    """Return the worlds to evaluate in."""
    worlds = {"imagined": make_dreams(args, min(args.dream_episodes, 64), args.steps)}
    if args.real_episodes:
        if args.workers > 1:  # each process draws on its own core
            os.environ.setdefault("LP_NUM_THREADS", "0")
        makers = [partial(make_real_maze, args)] * min(args.workers, args.real_episodes)
        worlds["real"] = AsyncVectorEnv(makers, context="spawn")
    return worlds


def make_dreams(args: Args, count: int, steps: int, starts: str = "first_frames") -> VectorEnv[Any, Any, Any]:
    """Return dreams that end after so many steps."""
    return gymnasium.make_vec(
        DREAM, count, checkpoint=args.checkpoint, observation=args.observation, device=args.device,
        denoising_steps=args.denoising_steps, starts=starts, max_episode_steps=steps,
    )  # fmt: skip


def make_real_maze(args: Args) -> gymnasium.Env[Any, Any]:
    """Return one real maze that shows what a dream shows; its frames come from `render`."""
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the training, not the mazes
    wmgym.register_all()
    env = gymnasium.make(REAL, render_mode="rgb_array", max_episode_steps=args.steps)
    if args.observation == "pixels":
        return env
    return WorldModelObservation(env, args.checkpoint, args.observation)


def measure(
    name: str, make_policy: Callable[[], Policy], worlds: dict[str, VectorEnv[Any, Any, Any]], args: Args
) -> dict[str, Evaluation]:
    """Evaluate a policy, made anew for each world, in all of them."""
    episodes = {"imagined": args.dream_episodes, "real": args.real_episodes}
    seed = SEED_RANGES[args.mazes].start
    found = {}
    for world, env in worlds.items():
        with tqdm(total=episodes[world] * args.steps, unit="step", desc=f"{name}, {world}") as bar:
            found[world] = evaluate(make_policy(), env, episodes=episodes[world], seed=seed, on_step=bar.update)
    return found


def train(args: Args, seconds: float) -> None:
    """Train PPO in dreams for so long, and save it."""
    args.output.mkdir(parents=True, exist_ok=True)
    with (
        closing(make_dreams(args, args.num_envs, args.horizon, args.starts)) as env,
        tqdm(total=round(seconds), unit="s", desc="PPO in dreams") as bar,
    ):

        def show(progress: TrainingProgress) -> None:
            bar.update(min(round(progress.seconds), bar.total) - bar.n)
            if progress.curve:
                imagined_return = f"{progress.curve[-1]['return']:.2f}"
                bar.set_postfix(steps=progress.steps, imagined_return=imagined_return, refresh=False)

        learner = make_ppo(
            env, seed=args.seed, recurrent=args.recurrent, tensorboard=args.output / "tensorboard",
            learning_rate=args.learning_rate, ent_coef=args.entropy, n_steps=args.rollout, gamma=args.discount,
        )  # fmt: skip
        budget = TimeBudget(seconds, save=partial(save, args), show=show)
        try:
            learner.learn(10**12, callback=budget, tb_log_name="ppo")
        except KeyboardInterrupt:
            save(args, learner, budget.progress)
            bar.write("The training was interrupted; what was learned so far is evaluated.")


def save(args: Args, learner: BaseAlgorithm, progress: TrainingProgress) -> None:
    """Write policy and progress; each file appears whole or not at all."""
    partial_file = args.output / "policy.partial.zip"
    learner.save(partial_file)
    partial_file.replace(args.output / POLICY_FILE)
    said = asdict(progress) | {"minutes": round(progress.seconds / 60, 2), "horizon": args.horizon}
    write_json(args.output / TRAINING_FILE, {"config": settings_of(args), "progress": said})


def plot(metrics: dict[str, Any], path: Path) -> None:
    """Draw the learning curve, and imagined beside real returns with their intervals."""
    training, policies = metrics["training"], metrics["policies"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot([p["steps"] for p in training["curve"]], [p["return"] for p in training["curve"]])
    left.set(xlabel="steps in dreams", ylabel=f"return of {training['horizon']} steps", title="PPO in dreams")
    for i, world in enumerate(("imagined", "real")):
        found = [row[world] for row in policies if world in row]
        means = np.array([row["mean"] for row in found])
        errors = np.abs(np.array([row["ci95"] for row in found]).reshape(-1, 2).T - means)
        right.bar(np.arange(len(found)) + 0.4 * i, means, 0.38, yerr=errors, capsize=4, label=world)
    right.set(xticks=[0.2, 1.2], xticklabels=[row["name"] for row in policies], title="evaluation")
    right.set(ylabel=f"mean return of {policies[0]['imagined']['steps']} steps, 95 % interval")
    right.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def save_side_by_side(args: Args, policy: Policy, path: Path, context: int = 40, horizon: int = 120) -> None:
    """Draw a dream beside reality: from the same real frames, under the actions a policy took in reality."""
    context, horizon = min(context, args.steps // 2), min(horizon, args.steps // 2)
    with closing(make_real_maze(args)) as real:
        observation, _ = real.reset(seed=SEED_RANGES[args.mazes].start)
        frames, actions = [real.render()], [0]
        for step in range(context + horizon - 1):
            actions.append(int(policy.act(observation[None], np.array([step == 0]))[0]))
            observation, *_ = real.step(actions[-1])
            frames.append(real.render())
    kwargs = {"checkpoint": args.checkpoint, "denoising_steps": args.denoising_steps, "device": args.device}
    with closing(gymnasium.make(DREAM, **kwargs)) as dream:
        given = {"frames": np.stack(frames[:context]), "actions": np.array(actions[:context])}
        dream.reset(seed=args.seed, options={"context": given})
        pictures = [side_by_side(frame, frame, "real, to start from") for frame in frames[:context]]
        for frame, action in zip(frames[context:], actions[context:], strict=True):
            imagined, _, terminated, *_ = dream.step(action)
            pictures.append(side_by_side(frame, imagined, "dream"))
            if terminated:
                break
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=125, loop=0)


def side_by_side(real: NDArray[np.uint8], imagined: NDArray[np.uint8], caption: str) -> Image.Image:
    """Return two frames at twice their size, with captions."""
    size = 2 * len(real)
    picture = Image.new("RGB", (2 * size + 4, size + 14), "white")
    for left, frame, text in ((0, real, "real"), (size + 4, imagined, caption)):
        picture.paste(Image.fromarray(frame).resize((size, size), Image.Resampling.NEAREST), (left, 14))
        ImageDraw.Draw(picture).text((left + 2, 1), text, fill="black")
    return picture.quantize(128)


def settings_of(args: Args) -> dict[str, Any]:
    """Return what decides the result, without where things lie on this machine."""
    chosen = asdict(args)
    del chosen["output"], chosen["evaluate"]
    if args.checkpoint is not None:
        chosen["checkpoint"] = Path(args.checkpoint).name
    return chosen | {"world_model": fingerprint(args.checkpoint)}


def fingerprint(checkpoint: str | None) -> str:
    """Return what tells a world model from all others, whatever its folder is called."""
    return weights_digest(find_checkpoint(DEFAULT_CHECKPOINT if checkpoint is None else checkpoint))[:16]


def with_settings_of(folder: Path, args: Args) -> Args:
    """Return arguments with what the policy in a folder was trained on, and with that folder to write to."""
    try:
        config = json.loads((folder / TRAINING_FILE).read_text())["config"]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--evaluate {folder}: there is no {TRAINING_FILE} in it, expected a folder that a run of this "
            "script wrote. One that was killed within its first minute of training has to run again."
        ) from error
    if config["world_model"] != fingerprint(args.checkpoint):
        raise ValueError(
            f"--evaluate {folder}: its policy was trained in dreams of another world model (checkpoint "
            f"{config['checkpoint'] or 'that ships with wmgym'!r}, weights {config['world_model']}) than the one to "
            "evaluate with. Pass the same --checkpoint as in training."
        )
    kept = {name: config[name] for name in ("observation", "recurrent", "denoising_steps")}
    return replace(args, output=folder, **kept)


def parse(arguments: list[str]) -> Args:
    """Read the command line: first the preset, then what differs from it."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=list(PRESETS), default="demo")
    preset = first.parse_known_args(arguments)[0].preset
    return tyro.cli(Args, args=arguments, default=PRESETS[preset], description=__doc__)


if __name__ == "__main__":
    main(parse(sys.argv[1:]))
