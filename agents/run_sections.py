"""What a run of agents asked for, learned and scored, as a section of a page.

docs/results/*/result.json -> find_results -> section
"""

from collections.abc import Callable, Mapping
from typing import Any

from agents.comparison import WORLDS, said_steps
from agents.dream_settings import options_of
from agents.learning_time import as_sentence
from agents.named_policies import asked_policy

PLAN_SWITCHES = ("also_without_critic", "also_prior_alone", "compile")
PLAN_USUAL = {
    "iterations": 1, "temperature": 0.0, "branches": 256, "planner_bursts": 0.0, "bursts": 0.08, "steps": 1000,
    "real_episodes": 20, "mazes": "test", "film_steps": 120, "denoising_steps": 1, "device": "cpu", "seed": 0,
}  # fmt: skip
"""Settings of experiments/plan_mpc.py that a command names only where they are others."""


def section(name: str, result: Mapping[str, Any]) -> str:
    """Return title, command, returns in both worlds, verdicts and how it was learned, of one run.

    Args:
        name: Of its folder, one of `SECTIONS`; results lie in `results/` beside the page.
        result: As `agents.found_results.find_results` returns it.
    """
    title, learned = SECTIONS[name]
    told = f"`{command_of(result)}` ([{name}](results/{name}/result.json))"
    return f"### {title}\n\n{told}\n\n{returns(result)}\n{learned(result['metrics'])}"


def command_of(result: Mapping[str, Any]) -> str:
    """Return the command that makes a result; of experiments not known here the script alone."""
    command = COMMANDS.get(result["experiment"])
    return command(result["config"]) if command else f"experiments/{result['experiment']}.py"


def ppo_command(config: Mapping[str, Any]) -> str:
    """How long and how much was asked of a run of PPO, and all that was not left as it is by default."""
    seen = config.get("observation", "latent")
    output = [f"--output runs/fine_tuned{'' if seen == 'latent' else f'_{seen}'}"] if config.get("start_from") else []
    return " ".join(["experiments/dream_ppo.py", *options_of(config), *output])


def clone_command(config: Mapping[str, Any]) -> str:
    """What was cloned from, and how."""
    folders = [f"recordings/{name}" for name in config["recordings"]]
    parts = [flag("recordings", folders), f"--validation recordings/{config['validation']}"]
    names = ("epochs", "hidden", "dropout", "temperature", "bursts", "steps", "dream_episodes", "real_episodes")
    parts += [flag(name, config[name]) for name in names]
    unasked = {"observation": "latent", "recurrent": True, "mirror": True, "mazes": "test", "forget_every": None}
    for name, usual in unasked.items():
        if (chosen := config.get(name, usual)) != usual:
            parts.append(flag(f"no_{name}", []) if chosen is False else flag(name, chosen))
    if checkpoint := config.get("checkpoint"):
        parts.append(f"--checkpoint runs/{checkpoint}")
    parts += [f"--output runs/clone{'' if config.get('recurrent', True) else '_features'}"]
    return f"experiments/clone_behaviour.py {' '.join(parts)}"


def plan_command(config: Mapping[str, Any]) -> str:
    """How far was planned, by whose help, and all that was not left as it is by default."""
    tree = config["planner"] == "tree"
    guides = {"critic": "runs/{}".format, "prior": asked_policy}
    parts = [f"--{name} {asked(config[name].split()[0])}" for name, asked in guides.items() if config.get(name)]
    parts += [f"--{name.replace('_', '-')}" for name in PLAN_SWITCHES if config.get(name)]
    told = ("planner", "hold", "candidates", "mazes_at_once", "dream_episodes", "precision")
    parts += [flag(name, config[name]) for name in (*told, *(() if tree else ("horizon", "replan_every")))]
    parts += [flag(name, config[name]) for name, usual in PLAN_USUAL.items() if config.get(name, usual) != usual]
    if checkpoint := config.get("checkpoint"):
        parts.append(f"--checkpoint runs/{checkpoint}")
    return f"experiments/plan_mpc.py {' '.join([*parts, *(['--output runs/plan_tree'] if tree else [])])}"


def flag(name: str, value: Any) -> str:
    """A setting as a command line has it."""
    values = value if isinstance(value, list) else [value]
    return " ".join([f"--{name.replace('_', '-')}", *map(str, values)])


def returns(result: Mapping[str, Any]) -> str:
    """Imagined and real return of each policy."""
    lines = [f"Mean return of {said_steps(result['metrics']['policies'])}:", ""]
    lines += ["| policy | imagined | 95 % | real | 95 % | real episodes |", "|" + "---|" * 6]
    for policy in result["metrics"]["policies"]:
        cells = []
        for world in WORLDS:
            found = policy.get(world)
            cells += [f"{found['mean']:.2f}", "{:.2f} to {:.2f}".format(*found["ci95"])] if found else ["", ""]
        lines.append(f"| {' | '.join([policy['name'], *cells, str(policy['real']['episodes'])])} |")
    return "\n".join([*lines, "", *result["metrics"]["verdicts"]])


def learned_in_dreams(metrics: Mapping[str, Any]) -> str:
    """How long PPO learned, and where the time went."""
    training = metrics["training"]
    learned = f"It learned for {training['minutes']:.0f} minutes, {training['steps']:,} steps in dreams."
    if training.get("parts"):
        learned += f" It made {as_sentence(training['parts'], training['steps'])}"
    return learned


def learned_by_cloning(metrics: Mapping[str, Any]) -> str:
    """What was cloned from, and how well."""
    last, commonest = metrics["cloning"][-1], max(metrics["teachers_actions"])
    mirrored = " and as many mirrored" if metrics["mirrored"] else ""
    return (
        f"The clone learned from {metrics['frames']:,} recorded frames{mirrored}, {last['epoch']} times each, and "
        "acted in no world on the way. On held-out recordings the teacher's action is its likeliest at "
        f"{last['accuracy']:.1%} of the steps (the commonest action is right at {commonest:.1%}). All policies act "
        "with the same bursts of random actions. Published for 1,000 steps of this maze: people 26.4, Dreamer 33.2, an "
        "oracle 34.8 (arXiv:2210.13383)."
    )


def learned_to_plan(metrics: Mapping[str, Any]) -> str:
    """What planning took."""
    planning = metrics["planning"]
    return (
        f"The planner dreams {planning['dreamed_steps_per_step']:.0f} steps for each step that it takes, up to "
        f"{planning['branches']} branches at a time of {planning['state_nbytes'] / 1e6:.2f} MB each."
    )


COMMANDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "dream_ppo": ppo_command, "clone_behaviour": clone_command, "plan_mpc": plan_command,
}  # fmt: skip
"""Commands by experiment, from the settings of a result."""
SECTIONS = {
    "dream_ppo_demo": ("PPO trained only in the dream, in ten minutes", learned_in_dreams),
    "dream_ppo_full": ("PPO trained only in the dream", learned_in_dreams),
    "dream_ppo_1000": ("PPO trained only in the dream, judged over whole episodes", learned_in_dreams),
    "clone_behaviour": ("A teacher cloned from recordings", learned_by_cloning),
    "clone_features": ("A clone with no memory but the world model's", learned_by_cloning),
    "dream_ppo_from_clone": ("A clone goes on in dreams", learned_in_dreams),
    "dream_ppo_from_features": ("A clone with no memory but the world model's goes on in dreams", learned_in_dreams),
    "plan_mpc": ("Planning in the dream", learned_to_plan),
}
"""Runs of agents by their folders: title, and how they learned."""
