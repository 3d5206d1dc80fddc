"""README, card and page of agents show the committed results; README those of the shipped checkpoint only."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.update_pages import AGENTS_PAGE, CARD, RESULTS, Args, main, recipe
from model.checkpoint import weights_digest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path):
    """The pages, the results and the checkpoint, without the rest of the repository."""
    for name in (RESULTS, CARD):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.gif"))
    for page in ("README.md", AGENTS_PAGE):
        shutil.copy(ROOT / page, tmp_path / page)
    return tmp_path


def test_the_committed_pages_are_what_the_results_say(copy):
    main(Args(copy))
    for page in (Path("README.md"), CARD / "README.md", AGENTS_PAGE):
        assert (copy / page).read_text() == (ROOT / page).read_text(), "run experiments/update_pages.py"


def test_results_in_another_checkpoint_are_refused(copy):
    path = copy / RESULTS / "dream_ppo_demo" / "result.json"
    result = json.loads(path.read_text())
    result["config"]["world_model"] = "0123456789abcdef"
    path.write_text(json.dumps(result))
    with pytest.raises(ValueError, match="0123456789abcdef, expected the shipped one"):
        main(Args(copy))


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
    assert f"(`{both}`)" in (copy / "README.md").read_text()
    path.write_text(json.dumps(result | {"metrics": {"rows": rows[-2:]}}))
    with pytest.raises(ValueError, match=r"TextureWorld runs of \[\] steps, expected one number"):
        main(Args(copy))
    path.write_text(json.dumps(result | {"metrics": {"rows": [*rows, row | {"steps_trained": 8}]}}))
    with pytest.raises(ValueError, match=r"TextureWorld runs of \[7, 8\] steps, expected one number"):
        main(Args(copy))


def test_agreement_of_imagined_and_real_returns_is_shown_on_readme_and_page(copy):
    folder = copy / RESULTS / "imagined_vs_real"
    folder.mkdir(exist_ok=True)
    result = json.loads((copy / RESULTS / "dream_ppo_demo" / "result.json").read_text())
    policies = result["metrics"]["policies"]
    metrics = {"policies": policies, "pearson_r": 0.625, "spearman": None, "mae": 0.25}
    (folder / "result.json").write_text(json.dumps(result | {"experiment": "imagined_vs_real", "metrics": metrics}))
    (folder / "imagined_vs_real.png").touch()
    main(Args(copy))
    for page, path in ((Path("README.md"), "docs/results"), (AGENTS_PAGE, "results")):
        text = (copy / page).read_text()
        assert "| Pearson r, at best 1 | 0.62 |" in text
        assert f"({path}/imagined_vs_real/imagined_vs_real.png)" in text
    readme = (copy / "README.md").read_text()
    assert (
        f"returns of {len(policies)} policies** ([imagined_vs_real](docs/results/imagined_vs_real/result.json))"
        in readme
    )


@pytest.mark.parametrize("whose", ["shipped", "earlier"])
def test_probes_say_of_which_checkpoint_they_are(whose, copy):
    path = copy / RESULTS / "map_probes" / "result.json"
    result = json.loads(path.read_text())
    result["config"]["world_model"] = weights_digest(ROOT / CARD)[:16] if whose == "shipped" else "0123456789abcdef"
    path.write_text(json.dumps(result))
    main(Args(copy))
    told = "the shipped checkpoint's memory knows" if whose == "shipped" else "an earlier checkpoint's memory knows"
    assert told in (copy / "README.md").read_text()


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
