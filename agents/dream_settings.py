"""The settings of experiments/dream_ppo.py, and from those of a result the command that asks for them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from agents.algorithms import Algorithm, with_defaults
from agents.named_policies import asked_policy

Preset = Literal["demo", "full", "tiny"]
ALWAYS_TOLD = ("preset", "minutes", "steps", "dream_episodes", "real_episodes", "workers")
"""In a command, even where they are the preset's: how much was asked for, and what differs from machine to machine."""
FOLDERS = ("evaluate", "checkpoint")


@dataclass(frozen=True)
class DreamSettings:
    """What learns in dreams, for how long, and how it is judged there and in the real world."""

    preset: Preset = "demo"
    """Defaults of all the rest: demo (10 minutes on 2 cores), full (hours), tiny (seconds, for tests)."""
    evaluate: Path | None = None
    """Train nothing: evaluate the policy in this folder again, and write there."""
    resume: bool = False
    """Go on with the training in OUTPUT, with its settings, for another --minutes."""
    checkpoint: str | None = None
    """World model: a folder or a Hugging Face Hub id; the shipped one by default."""
    observation: Literal["features", "latent", "pixels"] = "features"
    """What the policy sees. Features carry the model's memory; pixels get a convolutional network."""
    algorithm: Algorithm = "ppo"
    """What learns. recurrent_ppo has a memory of its own: meant for pixels and latents."""
    start_from: Path | None = None
    """Policy to go on from: folder of a clone, say, or pretrained-clone, which ships with wmgym. What it sees and its
    actor are kept, its critic is new."""
    critic_warmup: int | None = None
    """With --start-from: rollouts in which only the critic learns. None: 20, with a2c 320."""
    minutes: float = 9.5
    """For the whole run: training gets what evaluation leaves, which the random policy tells beforehand."""
    save_every: float = 60.0
    """Seconds of training from one save to the next: what a kill can lose."""
    num_envs: int = 64
    """Dreams trained in at once."""
    horizon: int = 16
    """Steps of a dream in training; then another one starts. Short ones stay near reality."""
    end_at_reward: bool = True
    """End a dream in training with its first reward, so that none is learned from what the model says after it."""
    pessimism: float = 0.0
    """Reward taken off a training step for each unit by which draws of its frame disagree; takes 3 times as long."""
    starts: Literal["clips", "first_frames"] = "clips"
    """Where dreams start in training: in recorded clips, most of them shortly before a reward, or as episodes do."""
    denoising_steps: int = 1
    """Sampler steps for a dreamed frame, in training and evaluation; 1 stays nearest to reality for some steps."""
    learning_rate: float | None = None
    """None: 7e-4 for ppo and a2c, 3e-4 for recurrent_ppo and dqn, 1e-4 with --start-from."""
    rollout: int | None = None
    """Steps of each dream from one update of the policy to the next. None: 32, with a2c 8, with dqn 4."""
    discount: float = 0.95
    """Of rewards, a step: gamma."""
    entropy: float | None = None
    """Weight of the bonus that keeps a policy exploring, which dqn has not. None: 0.01, with --start-from 0.001."""
    bursts: float = 0.08
    """Probability, at a step of evaluation, that one random action begins to be repeated 2 to 8 times; 0: never."""
    steps: int = 500
    """Steps of an episode in evaluation, in both worlds; at most the real world's limit, 1,000 in the maze."""
    dream_episodes: int = 16
    """Episodes to evaluate a policy in dreams."""
    real_episodes: int = 10
    """Episodes to evaluate a policy in the real maze; 0 leaves it out, and needs no memory-maze."""
    beside: tuple[str, ...] = ()
    """Policies to measure beside it, as imagined_vs_real.py names them: the folder of a training, say, or
    pretrained-clone, which ships with wmgym and was cloned from a teacher. The minutes pay for that, too."""
    mazes: Literal["validation", "test"] = "test"
    """Which held-out real mazes; choose settings on validation only."""
    workers: int = os.cpu_count() or 1
    """Processes that run the real maze."""
    device: str = "cpu"
    """Where to dream: cpu or cuda."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the dreams; bfloat16 is faster where the processor or GPU multiplies it natively."""
    compile: bool = False
    """Compile what dreams: faster, after a minute or two; takes a C++ compiler."""
    seed: int = 0
    """Fixes weights, actions and dreams, but not how many steps fit into the minutes."""


PRESETS: dict[Preset, DreamSettings] = {
    "demo": DreamSettings(),
    "full": DreamSettings(preset="full", minutes=180.0, steps=1000, dream_episodes=128, real_episodes=100),
    "tiny": DreamSettings(
        preset="tiny", minutes=0.05, num_envs=4, horizon=8, steps=20, dream_episodes=4, real_episodes=1, workers=1,
    ),
}  # fmt: skip


def recorded_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result or a training says of its settings, by the names they have now; what it lacks stays out."""
    known = {each.name for each in fields(DreamSettings)}
    algorithm = "recurrent_ppo" if config.get("recurrent") else "ppo"  # how it was told once
    return {"algorithm": algorithm} | {name: value for name, value in config.items() if name in known}


def options_of(config: Mapping[str, Any]) -> list[str]:
    """Return the options that ask for the settings of a result: how much it was, and all that is not the default.

    Args:
        config: Of the result. Folders stand in it by their last names; they are taken to lie in `runs`.
    """
    given = recorded_settings(config)
    preset = PRESETS[given["preset"]]
    unasked = {name: getattr(preset, name) for name in given}
    nothing = dict.fromkeys(("learning_rate", "rollout", "entropy", "critic_warmup"))
    unasked |= with_defaults(given["algorithm"], nothing, fine_tuning=bool(given.get("start_from")))
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    told = [name for name in given if name in ALWAYS_TOLD or given[name] != unasked[name]]
    return [_option(each.name, given[each.name]) for each in fields(DreamSettings) if each.name in told]


def _option(name: str, value: Any) -> str:
    """Return a setting as a command line has it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    if isinstance(value, tuple):
        return " ".join([f"--{flag}", *map(asked_policy, value)])
    if name == "start_from":
        return f"--{flag} {asked_policy(value)}"
    return f"--{flag} runs/{value}" if name in FOLDERS else f"--{flag} {value}"
