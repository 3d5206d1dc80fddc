"""Write the numbers on README, checkpoint card and pages from the committed results; none is typed.

    python experiments/update_pages.py

They stand in `docs/results/*/result.json`. What is between `<!-- NAME -->` and `<!-- /NAME -->` is replaced. README
shows agents of the shipped checkpoint only and refuses others; `docs/agents.md` shows all and says of which they are.
`docs/your_environment.md` shows what its own commands gave.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from agents.blind_policies import BLIND
from agents.comparison import said_steps
from agents.dream_settings import options_of
from agents.found_results import find_results
from agents.learning_time import as_sentence
from agents.results_page import agreement_table, page
from model.checkpoint import weights_digest

RESULTS = Path("docs/results")
AGENTS_PAGE = Path("docs/agents.md")
CARD = Path("wmgym/checkpoints/memory-maze-9x9")
OWN_PAGE = Path("docs/your_environment.md")
READ_DIAGNOSIS = (
    "\n\nWhere the current target is, as one knows who remembers all that was seen: in how many of the steps, and how "
    "often the agent does then what the teacher would, on the agent's own walk."
)
READ_AGREEMENT = (
    "\n\nOver whole episodes of 1,000 steps from a first frame, dreams pay next to nothing, whoever acts: see the "
    "imagined returns of the agents above."
)
WORLDS_OF_AGENTS = ("imagined", "real")
KEPT = ("direction", "both")
"""Rows of the table of the scan that README shows."""
WORLDS = {"TextureWorld": "", "MemoryMaze": "WORLD=maze "}
"""Worlds of the memory benchmark, and what `make memory` is told for each."""


@dataclass
class Args:
    """Write the numbers on README, checkpoint card and pages."""

    root: Path = Path(__file__).parent.parent
    """The repository."""


def main(args: Args) -> None:
    """Fills the markers from every result that is there."""
    parts, shipped = [], weights_digest(args.root / CARD)
    agents = find_results(args.root / RESULTS)
    replace(args.root / AGENTS_PAGE, "agents", page(agents, args.root / RESULTS, shipped))
    if "room_dream_ppo" in agents:
        replace(args.root / OWN_PAGE, "room", of_room(args.root, agents["room_dream_ppo"]))
    fidelity = table_of(args.root, "evaluate_world_model")
    if fidelity:
        replace(args.root / CARD / "README.md", "numbers", fidelity)
        parts += ["**Held-out mazes** (`experiments/evaluate_world_model.py --recordings recordings/test`)", fidelity]
    for name, (title, command_of, learned) in AGENTS.items():
        path = RESULTS / name / "result.json"
        if (args.root / path).exists():
            result = agents[name]
            if not shipped.startswith(result["config"]["world_model"]):
                raise ValueError(
                    f"{path} is of world model {result['config']['world_model']}, expected the shipped one, "
                    f"{shipped[:16]}. Run {name} again with the shipped checkpoint."
                )
            parts += [f"**{title}** (`{command_of(result['config'])}`, [{name}]({path}))"]
            parts += [returns(result) + "\n" + learned(result["metrics"])]
    if diagnosis := table_of(args.root, "diagnose_agent"):
        config = json.loads((args.root / RESULTS / "diagnose_agent" / "result.json").read_text())["config"]
        named = " ".join(name if name in BLIND else f"runs/{name}" for name in config["policies"])
        more = " ".join(flag(name, config[name]) for name in ("teachers", "episodes", "bursts") if config.get(name))
        title = f"What agents fail at, in {config['mazes']} mazes"
        parts += [
            f"**{title}** (`experiments/diagnose_agent.py --policies {named} {more}`)",
            diagnosis + READ_DIAGNOSIS,
        ]
    parts += agreements(args.root, agents)
    parts += [f"Every run of agents, failures included: [{AGENTS_PAGE}]({AGENTS_PAGE})."] if agents else []
    parts += speeds(args.root)
    memory, costs = (table_of(args.root, name) for name in ("memory_benchmark", "efficiency"))
    if memory:
        result = json.loads((args.root / RESULTS / "memory_benchmark" / "result.json").read_text())
        parts += [f"**Memory** (`{memory_command(result)}`)", memory]
    if probes := table_of(args.root, "map_probes"):
        config = json.loads((args.root / RESULTS / "map_probes" / "result.json").read_text())["config"]
        command = "experiments/map_probes.py --recordings recordings/train --test recordings/test"
        command += f" --walkers {config['walkers']}" if config["walkers"] else ""
        whose = "the shipped" if shipped.startswith(config.get("world_model", "none")) else "an earlier"
        parts += [f"**What {whose} checkpoint's memory knows of a maze** (`{command}`)", probes]
    if costs:
        parts += ["**What memory costs** (`experiments/efficiency.py`)", costs]
    parts += ["The settings of each run stand in its `result.json` under `docs/results`."]
    replace(args.root / "README.md", "results", "\n\n".join(parts))
    record = json.loads((args.root / CARD / "training.json").read_text())
    replace(args.root / CARD / "README.md", "recipe", recipe(record))


def agreements(root: Path, agents: dict[str, dict[str, Any]]) -> list[str]:
    """How well returns in dreams agree with real ones, wherever that was measured."""
    parts, shipped = [], weights_digest(root / CARD)
    for name, result in agents.items():
        if table := agreement_table(result):
            which = "" if shipped.startswith(result["config"]["world_model"]) else ", of an earlier checkpoint"
            title = f"Imagined against real returns of {len(result['metrics']['policies'])} policies{which}"
            parts += [f"**{title}** ([{name}]({RESULTS / name / 'result.json'}))"]
            parts += [conditions(result), table + READ_AGREEMENT]
            parts += [f"![imagined and real returns]({RESULTS / name / plot.name})" for plot in plots(root, name)]
    return parts


def conditions(result: dict[str, Any]) -> str:
    """From where and how long policies ran to be compared."""
    config, (first, *_) = result["config"], result["metrics"]["policies"]
    counts = f"{first['imagined']['episodes']} dreamed and {first['real']['episodes']} real episodes a policy"
    start = "from a first frame"
    if "first_and_last_maze" in config:
        near = f", at most {config['lead']} steps before a reward of that walk" if config["lead"] else ""
        start = f"from moments of recorded walks in held-out mazes{near}; a dream is shown {config['context']} frames"
    names = ", ".join(policy["name"] for policy in result["metrics"]["policies"])
    command = "The command: [Train agents](#train-agents)."
    return f"{counts}, {config['steps']} steps long, {start}. Policies: {names}. {command}"


def plots(root: Path, name: str) -> list[Path]:
    """The plots of a committed result."""
    return sorted((root / RESULTS / name).glob("*.png"))


def speeds(root: Path) -> list[str]:
    """How fast dreams, training and the scan are; the rows to read first, and where all are."""
    parts = []
    if speed := table_of(root, "bench_dream", "summary.md"):
        given = ("engines", "batches", "denoising_steps", "seconds", "frames")
        picture = f"![steps a second over batches and denoising steps]({RESULTS / 'bench_dream' / 'speed.png'})"
        parts += [heading("Speed of dreams", root, "bench_dream", given), speed, picture]
    if samplers := table_of(root, "denoising_steps"):
        picture = f"![quality over the time of a step]({RESULTS / 'denoising_steps' / 'quality.png'})"
        title = heading("Denoising steps", root, "denoising_steps", ("episodes",), "--recordings recordings/test")
        parts += [title, samplers, picture]
    if training := table_of(root, "bench_training"):
        given = ("preset", "windows", "frames_per_step", "seconds")
        parts += [heading("Speed of training", root, "bench_training", given), training]
    if scans := table_of(root, "bench_scan"):
        both = [line for line in scans.splitlines() if not line.startswith("| ") or line.split("|")[2].strip() in KEPT]
        title = "The scan against public implementations, forward and backward"
        parts += [heading(title, root, "bench_scan", ("chunks", "repeats"), "--mamba2-minimal mamba2.py")]
        parts.append("\n".join(both))
    return parts


def heading(title: str, root: Path, name: str, given: tuple[str, ...], more: str = "") -> str:
    """Title, command and full result of an experiment whose first rows follow."""
    config = json.loads((root / RESULTS / name / "result.json").read_text())["config"]
    command = " ".join(filter(None, [f"experiments/{name}.py", more, *(flag(key, config[key]) for key in given)]))
    shipped = weights_digest(root / CARD)
    title += "" if shipped.startswith(config.get("world_model", "")) else ", of an earlier checkpoint"
    return f"**{title}**, one run (`{command}`); [all rows]({RESULTS / name / 'result.md'})"


def table_of(root: Path, name: str, file: str = "result.md") -> str | None:
    """The table an experiment wrote beside its committed result, if there is one."""
    path = root / RESULTS / name / file
    return path.read_text().rstrip() if path.exists() else None


def memory_command(result: dict[str, Any]) -> str:
    """What trains and measures the systems of a memory benchmark; several commands if some have more seeds."""
    commands = []
    for world, setting in WORLDS.items():
        trained = [row for row in result["metrics"]["rows"] if row["world"] == world and row["seed"] is not None]
        steps = sorted({row["steps_trained"] for row in trained})
        if len(steps) > 1 or (not steps and world == "TextureWorld"):
            raise ValueError(
                f"memory_benchmark has {world} runs of {steps} steps, expected one number, as `make memory` trains all "
                "of them. Likely cause: runs of several STEPS, or of an earlier release. Measure runs of one folder."
            )
        systems: dict[str, list[str]] = {}
        for name in dict.fromkeys(row["backbone"] for row in trained if "," not in row["backbone"]):
            seeds = " ".join(map(str, sorted({row["seed"] for row in trained if row["backbone"] == name})))
            systems.setdefault(seeds, []).append(name)
        commands += [
            f'make memory {setting}STEPS={steps[0]} SEEDS="{seeds}" SYSTEMS="{" ".join(names)}"'
            for seeds, names in systems.items()
        ]
    return " && ".join(commands)


def ppo_command(config: dict[str, Any]) -> str:
    """How long and how much was asked of a run of PPO, and all that was not left as it is by default."""
    output = ["--output runs/fine_tuned"] if config.get("start_from") else []
    return " ".join(["experiments/dream_ppo.py", *options_of(config), *output])


def clone_command(config: dict[str, Any]) -> str:
    """What was cloned from, and how."""
    folders = [f"recordings/{name}" for name in config["recordings"]]
    parts = [flag("recordings", folders), f"--validation recordings/{config['validation']}"]
    names = ("epochs", "hidden", "dropout", "temperature", "bursts", "steps", "dream_episodes", "real_episodes")
    parts += [flag(name, config[name]) for name in names]
    parts += [flag("forget_every", config["forget_every"])] if config.get("forget_every") else []
    parts += ["--output runs/clone"]
    return f"experiments/clone_behaviour.py {' '.join(parts)}"


def plan_command(config: dict[str, Any]) -> str:
    """How far was planned, and by whose help."""
    names = ("planner", "horizon", "hold", "candidates", "replan_every", "mazes_at_once", "dream_episodes", "precision")
    parts = [f"--critic runs/{config['critic'].split()[0]}"] if config["critic"] else []
    parts += [f"--{name.replace('_', '-')}" for name in ("also_without_critic", "compile") if config[name]]
    return f"experiments/plan_mpc.py {' '.join([*parts, *(flag(name, config[name]) for name in names)])}"


def flag(name: str, value: Any) -> str:
    """A setting as a command line has it."""
    values = value if isinstance(value, list) else [value]
    return " ".join([f"--{name.replace('_', '-')}", *map(str, values)])


def returns(result: dict[str, Any]) -> str:
    """Imagined and real return of each policy."""
    lines = [f"Mean return of {said_steps(result['metrics']['policies'])}:", ""]
    lines += ["| policy | imagined | 95 % | real | 95 % | real episodes |", "|" + "---|" * 6]
    for policy in result["metrics"]["policies"]:
        cells = []
        for world in WORLDS_OF_AGENTS:
            found = policy.get(world)
            cells += [f"{found['mean']:.2f}", "{:.2f} to {:.2f}".format(*found["ci95"])] if found else ["", ""]
        lines.append(f"| {' | '.join([policy['name'], *cells, str(policy['real']['episodes'])])} |")
    return "\n".join([*lines, "", *result["metrics"]["verdicts"]])


def of_room(root: Path, agent: dict[str, Any]) -> str:
    """What the commands of the page on one's own environment gave: agent and world model."""
    found = json.loads((root / RESULTS / "room_world_model" / "result.json").read_text())["metrics"]
    told = ", ".join(
        f"{found[key]['recall']:.0%} of the {name} ({found[key]['precision']:.0%} of those that it told were real)"
        for key, name in (("reward_events", "rewards"), ("ends", "ends"))
    )
    return "\n\n".join(
        [
            f"The agent ([all of it](results/room_dream_ppo/result.json)). {learned_in_dreams(agent['metrics'])}",
            returns(agent),
            f"The world model ([all of it](results/room_world_model/result.md)), on real frames, told {told}.",
        ]
    )


def learned_in_dreams(metrics: dict[str, Any]) -> str:
    """How long PPO learned, and where the time went."""
    training = metrics["training"]
    learned = f"It learned for {training['minutes']:.0f} minutes, {training['steps']:,} steps in dreams."
    if training.get("parts"):
        learned += f" It made {as_sentence(training['parts'], training['steps'])}"
    return learned


def learned_by_cloning(metrics: dict[str, Any]) -> str:
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


def learned_to_plan(metrics: dict[str, Any]) -> str:
    """What planning took."""
    planning = metrics["planning"]
    return (
        f"The planner dreams {planning['dreamed_steps_per_step']:.0f} steps for each step that it takes, up to "
        f"{planning['branches']} branches at a time of {planning['state_nbytes'] / 1e6:.2f} MB each."
    )


AGENTS = {
    "dream_ppo_demo": ("PPO trained only in the dream", ppo_command, learned_in_dreams),
    "dream_ppo_full": ("PPO trained only in the dream", ppo_command, learned_in_dreams),
    "dream_ppo_1000": ("PPO trained only in the dream, judged over whole episodes", ppo_command, learned_in_dreams),
    "clone_behaviour": ("A teacher cloned from recordings", clone_command, learned_by_cloning),
    "dream_ppo_from_clone": ("The clone goes on in dreams", ppo_command, learned_in_dreams),
    "plan_mpc": ("Planning in the dream", plan_command, learned_to_plan),
}
"""Experiments with agents by their folders: title, command, and how they learned."""


def recipe(record: dict[str, Any]) -> str:
    """How the checkpoint was trained, from the record its training wrote."""
    runs = [record]
    while "start_from" in runs[0]:
        runs.insert(0, runs[0]["start_from"])
    lines: list[str] = []
    for tokenizer in [run["tokenizer"] for run in runs]:
        what = "Decoder, anew for its latents" if tokenizer["settings"].get("encoder_of") else "Tokenizer"
        done = tokenizer["progress"]
        line = f"- **{what}**: {done['seconds'] / 60:.0f} minutes, {done['frames']:,} frames."
        lines += [line] if line not in lines else []
    lines += [f"- **World model**, run {i + 1} of {len(runs)}: {run_of(run)}" for i, run in enumerate(runs)]
    return "\n".join([*lines, f"- Settings and versions: `training.json`; torch {record['versions']['torch']}."])


def run_of(record: dict[str, Any]) -> str:
    """One training run of the world model in a line."""
    done, settings = record["progress"], record["settings"]
    optimizer = "Muon and AdamW" if settings["muon"] else "AdamW"
    stages = ", ".join(f"{frames} frames until {until:.0%} of the time" for until, frames in settings["stages"])
    share = settings.get("dreamed_share", 0) if settings["mode"] == "clean_past" else 0
    dreams = f"; {share:.0%} of the windows remember own predictions or dreams" if share else ""
    changes = "".join(
        f" From step {change['step']:,} on `{change['setting']}` was {change['to']}."
        for change in record.get("changed_settings", [])
    )
    kept = ", ".join(map(str, settings.get("keep_layers") or ()))
    changes += f" It started as layers {kept} of the run before." if kept else ""
    named = f", {record['first_episode']} to {record['last_episode']}" if "first_episode" in record else ""
    return (
        f"{done['seconds'] / 60:.0f} minutes on {settings.get('devices', 1)} device(s), {done['step']:,} steps, "
        f"{done['frames']:,} frames of {record['episodes']} recorded episodes ({record['recorded_frames']:,} frames"
        f"{named}); mode "
        f"`{settings['mode']}`; {optimizer} at {settings['learning_rate']}; windows of {stages}{dreams}.{changes}"
    )


def replace(path: Path, marker: str, content: str) -> None:
    """Replaces what stands between two markers of a page."""
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    head, rest = path.read_text().split(begin, 1)
    path.write_text(f"{head}{begin}\n{content}\n{end}{rest.split(end, 1)[1]}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
