"""README, card and pages show the committed results, and of which checkpoint they are."""

import json
import re
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import tyro

from agents.algorithms import with_defaults
from agents.run_sections import clone_command, plan_command, ppo_command
from experiments import clone_behaviour, plan_mpc
from experiments.dream_ppo import parse
from experiments.update_pages import (
    AGENTS_PAGE,
    CARD,
    MEASUREMENTS,
    MEMORY_PAGE,
    OWN_PAGE,
    RESULTS,
    Args,
    main,
    recipe,
)
from model.checkpoint import weights_digest

ROOT = Path(__file__).parents[2]
WRITTEN = (Path("README.md"), CARD / "README.md", AGENTS_PAGE, OWN_PAGE, MEASUREMENTS, MEMORY_PAGE)


@pytest.fixture
def copy(tmp_path):
    """The pages, the results and the checkpoint, without the rest of the repository."""
    for name in (RESULTS, CARD):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.gif"))
    for page in WRITTEN:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    return tmp_path


def test_the_committed_pages_are_what_the_results_say(copy):
    main(Args(copy))
    for page in WRITTEN:
        assert (copy / page).read_text() == (ROOT / page).read_text(), "run experiments/update_pages.py"


@pytest.mark.parametrize(
    "name", ["dream_ppo_1000", "dream_ppo_demo", "dream_ppo_from_clone", "dream_ppo_from_features", "dream_ppo_full"]
)
def test_the_command_beside_a_run_of_ppo_asks_for_all_its_settings(name):
    config = json.loads((ROOT / RESULTS / name / "result.json").read_text())["config"]
    command = ppo_command(config)
    assert f"`{command}`" in (ROOT / AGENTS_PAGE).read_text()
    script, *options = shlex.split(command)
    assert script == "experiments/dream_ppo.py"
    asked = asdict(parse(options))
    chosen = {key: asked[key] for key in ("learning_rate", "rollout", "entropy", "critic_warmup")}
    asked |= with_defaults(asked["algorithm"], chosen, fine_tuning=asked["start_from"] is not None)
    asked["start_from"] = asked["start_from"] and asked["start_from"].name
    asked["beside"] = list(asked["beside"])  # as JSON has it
    found_out = ("recurrent", "world_model", "tokenizer", "start_from_policy", "beside_are")  # not by the command line
    told = {key: value for key, value in config.items() if key not in found_out}
    assert {key: asked[key] for key in told} == told


@pytest.mark.parametrize("name", ["clone_behaviour", "clone_features"])
def test_the_command_beside_a_clone_asks_for_all_its_settings(name):
    config = json.loads((ROOT / RESULTS / name / "result.json").read_text())["config"]
    script, *options = shlex.split(clone_command(config))
    assert script == "experiments/clone_behaviour.py"
    asked = asdict(tyro.cli(clone_behaviour.Args, args=options))
    asked |= {"recordings": [path.name for path in asked["recordings"]], "validation": asked["validation"].name}
    told = {key: value for key, value in config.items() if key in asked}
    assert len(told) > 15
    assert {key: asked[key] for key in told} == told


TREE = {
    "planner": "tree", "critic": None, "prior": "clone_features 0123", "also_prior_alone": True, "temperature": 1.0,
    "planner_bursts": 0.02, "bursts": 0.02, "hold": 1, "candidates": 32, "mazes": "validation", "steps": 500,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, TREE], ids=["plan_mpc", "tree"])
def test_the_command_beside_a_planner_asks_for_all_its_settings(changes):
    config = json.loads((ROOT / RESULTS / "plan_mpc" / "result.json").read_text())["config"] | changes
    script, *options = shlex.split(plan_command(config))
    assert script == "experiments/plan_mpc.py"
    asked = asdict(tyro.cli(plan_mpc.Args, args=options))
    for folder in ("critic", "prior"):  # of which the digest is told as well
        assert (asked[folder] and asked[folder].name) == (config[folder] and config[folder].split()[0])
    unused = ("horizon", "replan_every") if config["planner"] == "tree" else ()
    told = {key: value for key, value in config.items() if key in asked and key not in ("critic", "prior", *unused)}
    assert len(told) > 15
    assert {key: asked[key] or told[key] for key in told} == told  # a discount that is not given is the critic's


def test_switches_and_what_was_not_trained_anew_stand_in_the_command():
    config = {"preset": "demo", "end_at_reward": False, "compile": True, "pessimism": 0.1, "workers": 3}
    assert ppo_command(config | {"evaluate": "long", "resume": False}) == (
        "experiments/dream_ppo.py --preset demo --evaluate runs/long --no-end-at-reward --pessimism 0.1 --workers 3 "
        "--compile"
    )
    assert ppo_command({"preset": "tiny", "evaluate": None, "resume": True}).endswith("--preset tiny --resume")


def test_the_page_on_ones_own_environment_says_what_the_results_say(copy):
    for name, change in (("room_dream_ppo", "policies"), ("room_world_model", "ends")):
        path = copy / RESULTS / name / "result.json"
        result = json.loads(path.read_text())
        if change == "policies":
            result["metrics"]["policies"][-1]["real"] |= {"mean": 0.375, "steps": 5}
        else:
            result["metrics"]["ends"] |= {"recall": 0.125}
        path.write_text(json.dumps(result))
    main(Args(copy))
    text = (copy / OWN_PAGE).read_text()
    assert "| PPO trained in dreams | 1.00 | 1.00 to 1.00 | 0.38 |" in text
    assert "Mean return of 5 to 44 steps" in text
    assert "12% of the ends" in text


def test_agents_of_another_checkpoint_are_not_among_measurements_of_the_shipped_one(copy):
    of_world_model(copy / RESULTS / "dream_ppo_demo", "0123456789abcdef")
    main(Args(copy))
    measured, agents = ((copy / page).read_text() for page in (MEASUREMENTS, AGENTS_PAGE))
    assert "### PPO trained only in the dream, in ten minutes" in (ROOT / MEASUREMENTS).read_text()
    assert "### PPO trained only in the dream, in ten minutes" not in measured
    assert re.search(r"Agents of earlier checkpoints are in .*: .*\bdream_ppo_demo\b", measured)
    assert "another, 01234567" in agents
    assert "by `make demo`, of an earlier checkpoint |" in (copy / "README.md").read_text()


def test_a_diagnosis_in_another_checkpoint_says_so(copy):
    titles = []
    for digest in (weights_digest(ROOT / CARD)[:16], "0123456789abcdef"):
        of_world_model(copy / RESULTS / "diagnose_agent", digest)
        main(Args(copy))
        text = (copy / MEASUREMENTS).read_text()
        titles += [line for line in text.splitlines() if line.startswith("### What agents fail at")]
    assert titles[1] == f"{titles[0]}, of an earlier checkpoint"


def test_dreams_of_another_checkpoint_are_refused_on_the_card(copy):
    of_world_model(copy / RESULTS / "evaluate_world_model", "0123456789abcdef")
    with pytest.raises(ValueError, match="0123456789abcdef, expected the shipped one"):
        main(Args(copy))


@pytest.mark.parametrize(
    ("page", "taken", "message"),
    [
        (AGENTS_PAGE, "<!-- agents -->", "no <!-- agents -->, expected"),
        (CARD / "README.md", "<!-- /recipe -->", "no <!-- /recipe --> after <!-- recipe -->, expected"),
    ],
)
def test_a_page_without_its_markers_is_named_and_no_page_is_touched(copy, page, taken, message):
    of_world_model(copy / RESULTS / "dream_ppo_demo", "0123456789abcdef")  # something to write anew
    (copy / page).write_text((copy / page).read_text().replace(taken, ""))
    before = {each: (copy / each).read_text() for each in WRITTEN}
    with pytest.raises(ValueError, match=f"{page.name}: {message}"):
        main(Args(copy))
    assert {each: (copy / each).read_text() for each in WRITTEN} == before


def of_world_model(folder, digest):
    """Rewrite a result as one of another world model."""
    path = folder / "result.json"
    result = json.loads(path.read_text())
    result["config"]["world_model"] = digest
    path.write_text(json.dumps(result))


def test_the_command_beside_the_memory_table_names_what_was_trained(copy):
    path = copy / RESULTS / "memory_benchmark" / "result.json"
    result = json.loads(path.read_text())
    row = {"world": "TextureWorld", "steps_trained": 7, "seed": 1, "backbone": "causal"}
    cleared = row | {"seed": 0, "backbone": "lssvwm, scan cleared"}
    rows = [row, cleared, row | {"seed": 0}, row | {"seed": 0, "backbone": "lssvwm"}, row | {"backbone": "lssvwm"}]
    rows += [row | {"backbone": "dfot"}, row | {"world": "MemoryMaze", "steps_trained": 9}]
    rows.append(row | {"seed": None, "steps_trained": None, "backbone": "tokenizer"})
    path.write_text(json.dumps(result | {"metrics": {"rows": rows}}))
    main(Args(copy))
    both = 'make memory STEPS=7 SEEDS="0 1" SYSTEMS="causal lssvwm" && make memory STEPS=7 SEEDS="1" SYSTEMS="dfot"'
    both += ' && make memory WORLD=maze STEPS=9 SEEDS="1" SYSTEMS="causal"'
    assert f"`{both}`" in (copy / MEMORY_PAGE).read_text()
    path.write_text(json.dumps(result | {"metrics": {"rows": rows[-2:]}}))
    with pytest.raises(ValueError, match=r"TextureWorld runs of \[\] steps, expected one number"):
        main(Args(copy))
    path.write_text(json.dumps(result | {"metrics": {"rows": [*rows, row | {"steps_trained": 8}]}}))
    with pytest.raises(ValueError, match=r"TextureWorld runs of \[7, 8\] steps, expected one number"):
        main(Args(copy))


def test_agreement_of_imagined_and_real_returns_is_shown_on_all_pages(copy):
    folder = copy / RESULTS / "imagined_vs_real"
    folder.mkdir(exist_ok=True)
    result = json.loads((copy / RESULTS / "dream_ppo_demo" / "result.json").read_text())
    policies = result["metrics"]["policies"]
    metrics = {"policies": policies, "pearson_r": 0.625, "spearman": None, "mae": 0.25}
    (folder / "result.json").write_text(json.dumps(result | {"experiment": "imagined_vs_real", "metrics": metrics}))
    (folder / "imagined_vs_real.png").touch()
    main(Args(copy))
    for page in (MEASUREMENTS, AGENTS_PAGE):
        text = (copy / page).read_text()
        assert "| Pearson r, at best 1 | 0.62 |" in text
        assert "(results/imagined_vs_real/imagined_vs_real.png)" in text
    title = f"returns of {len(policies)} policies"
    assert f"{title}\n\n[imagined_vs_real](results/imagined_vs_real/result.json)" in (copy / MEASUREMENTS).read_text()
    assert f"{title}, 500 steps | Pearson r 0.62 | mean error 0.25 |" in (copy / "README.md").read_text()


@pytest.mark.parametrize("whose", ["shipped", "earlier"])
def test_probes_say_of_which_checkpoint_they_are(whose, copy):
    path = copy / RESULTS / "map_probes" / "result.json"
    result = json.loads(path.read_text())
    result["config"]["world_model"] = weights_digest(ROOT / CARD)[:16] if whose == "shipped" else "0123456789abcdef"
    path.write_text(json.dumps(result))
    main(Args(copy))
    told = "the shipped checkpoint's memory knows" if whose == "shipped" else "an earlier checkpoint's memory knows"
    assert told in (copy / MEMORY_PAGE).read_text()


def test_the_recipe_names_each_run_and_what_it_started_from():
    def tokenizer(minutes, **settings):
        return {"settings": settings, "progress": {"seconds": 60 * minutes, "frames": 1000 * minutes}}

    settings = {"muon": True, "stages": [[1.0, 48]], "mode": "clean_past", "learning_rate": 0.002}
    progress = {"seconds": 600, "step": 70, "frames": 4800}
    first = {"settings": settings, "progress": progress, "episodes": 5, "recorded_frames": 5005}
    first["tokenizer"] = tokenizer(22)
    second = first | {"start_from": first}
    third = second | {"settings": settings | {"keep_layers": [0, 3]}, "start_from": second, "versions": {"torch": "2"}}
    third["tokenizer"] = tokenizer(8, encoder_of="shipped")
    lines = recipe(third).splitlines()
    assert lines[0] == "- **Tokenizer**: 22 minutes, 22,000 frames."
    assert lines[1] == "- **Decoder, anew for its latents**: 8 minutes, 8,000 frames."
    assert [line.split("**")[1] for line in lines[2:5]] == ["World model"] * 3
    assert "run 2 of 3" in lines[3]
    assert "layers" not in lines[3]
    assert lines[4].endswith("It started as layers 0, 3 of the run before.")


def test_the_recipe_tells_what_a_world_model_was_taught():
    settings = {"teacher": "explorer", "mirror": True, "episodes_at_once": 4, "stretch": 50, "learning_rate": 0.001}
    settings |= {"rehearse_every": 2, "rehearsal_rows": 3, "rehearsal_window": 64, "rehearsal_weight": 10.0}
    first = {"settings": {"muon": False, "stages": [[1.0, 48]], "mode": "clean_past", "learning_rate": 0.002}}
    first |= {"progress": {"seconds": 600, "step": 70, "frames": 4800}, "episodes": 5, "recorded_frames": 5005}
    first["tokenizer"] = {"settings": {}, "progress": {"seconds": 60, "frames": 10}}
    second = {"settings": settings, "progress": {"seconds": 720, "step": 9, "frames": 1800}, "episodes": 7}
    second |= {"start_from": first, "versions": {"torch": "2"}}
    told = (
        "- **World model**, run 2 of 2: 12 minutes, 9 steps, 1,800 frames of 7 recorded episodes and their mirror "
        "images, 4 at once; taught to tell what the teacher `explorer` would do and where the target is, through whole "
        "episodes, in stretches of 50 frames; beside one step in 2, 3 windows of 64 frames to dream, weighted by 10: "
        "50% of the windows remember own predictions or dreams, of up to 8 frames; Muon and AdamW at 0.001."
    )
    assert recipe(second).splitlines()[2] == told
    settings |= {"mirror": False, "rehearse_every": 1, "rehearsal_dreamed": 0.8, "rehearsal_paid": 0.5}
    settings["rehearsal_frames"] = 20
    line = recipe(second).splitlines()[2]
    assert "mirror" not in line
    assert "beside each step, 3 windows of 64 frames to dream, weighted by 10: 80% of the windows remember" in line
    assert "of up to 20 frames, and 50% of all were drawn around a reward;" in line
