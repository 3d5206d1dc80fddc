"""The few numbers to read first: those of the results, with whose dreams they are; what is not there is left out."""

import pytest

from agents.results_digest import digest, verb_of

NAMES = ("random policy", "random policy with bursts", "PPO trained in dreams")
SHIPPED = "0123456789abcdef" * 4


def of_agents(*means, verdicts, steps=(40, 40, 40), world_model=SHIPPED[:16]):
    """A result of three policies, their real returns as given."""
    policies = [
        {"name": name, "real": {"mean": mean, "ci95": [mean - 0.25, mean + 0.25], "episodes": 9, "steps": length}}
        for name, mean, length in zip(NAMES, means, steps, strict=True)
    ]
    config = {"world_model": world_model, "steps": 60}
    return {"config": config, "metrics": {"policies": policies, "verdicts": verdicts}}


def test_an_agent_stands_beside_the_policy_that_explores_as_it_does():
    verdicts = [f"In the real environment, {NAMES[2]} is worse than {NAMES[1]}: -0.50 an episode."]
    results = {"dream_ppo_full": of_agents(0, 2.5, 2, verdicts=verdicts), "unknown": {}}
    lines = digest(results, SHIPPED).splitlines()
    assert len(lines) == 3
    told = "| real return in 40 steps: PPO trained only in the dream, for longer | 2.00 (1.75 to 2.25) |"
    assert lines[2] == f"{told} is worse than random policy with bursts, 2.50 |"


def test_a_result_may_have_several_agents_to_read_of():
    told = "In the real environment, "
    verdicts = [f"{told}{NAMES[1]} beats {NAMES[0]}: +2.", f"{told}{NAMES[2]} is worse than {NAMES[1]}: -1."]
    results = {"clone_features": of_agents(0, 2, 1, verdicts=verdicts)}
    first, second = (line.split(" | ")[1:] for line in digest(results, SHIPPED).splitlines()[2:])
    assert first == ["2.00 (1.75 to 2.25)", f"beats {NAMES[0]}, 0.00 |"]
    assert second == ["1.00 (0.75 to 1.25)", f"is worse than {NAMES[1]}, 2.00 |"]


def test_episodes_that_ended_early_are_told_by_their_limit():
    verdicts = [f"In the real environment, {NAMES[2]} beats {NAMES[0]}: +1."]
    result = of_agents(0, 0, 1, verdicts=verdicts, steps=(28, 30, 8), world_model="another")
    assert "real return in at most 60 steps: PPO" in digest({"miniworld_dream_ppo": result}, SHIPPED)


def test_what_is_of_another_checkpoint_says_so_and_what_is_of_another_world_need_not():
    verdicts = [f"In the real environment, {NAMES[2]} beats {NAMES[other]}: +1." for other in (0, 1)]
    result = of_agents(0, 0, 1, verdicts=verdicts, world_model="another")
    assert "for longer, of an earlier checkpoint |" in digest({"dream_ppo_full": result}, SHIPPED)
    assert "earlier" not in digest({"miniworld_dream_ppo": result}, SHIPPED)
    del result["config"]["world_model"]
    assert "for longer, of an earlier checkpoint |" in digest({"dream_ppo_full": result}, SHIPPED)


def test_a_verdict_on_others_is_not_taken_for_one_on_these():
    both = [f"In the real environment, {NAMES[other]} beats {NAMES[0]}: +1." for other in (1, 2)]
    assert verb_of(of_agents(0, 1, 1, verdicts=both), NAMES[1], NAMES[0]) == "beats"
    with pytest.raises(ValueError, match="no verdict on PPO trained in dreams against random policy with bursts"):
        verb_of(of_agents(0, 1, 1, verdicts=both), NAMES[2], NAMES[1])


def test_a_verdict_on_a_longer_name_is_not_taken_for_one_on_its_end():
    told = f"In the real environment, Recurrent{NAMES[2]} beats {NAMES[1]}: +1."
    with pytest.raises(ValueError, match="no verdict on PPO trained in dreams"):
        verb_of(of_agents(0, 1, 1, verdicts=[told]), NAMES[2], NAMES[1])
    ours = f"In the real environment, {NAMES[2]} is worse than {NAMES[1]}: -1."
    assert verb_of(of_agents(0, 1, 1, verdicts=[told, ours]), NAMES[2], NAMES[1]) == "is worse than"


@pytest.mark.parametrize("stretches", [0, 1, 2, 3])
def test_how_far_ahead_rewards_are_dreamed_is_told_of_both_ends(stretches):
    ahead = [
        {"first": 1, "last": 4, "events": 8, "recall": 0.75}, {"first": 5, "last": 6, "events": 9, "recall": 0.5},
        {"first": 7, "last": 9, "events": 5, "recall": 0.2},
    ][:stretches]  # fmt: skip
    told = {"denoising_steps": 1, "events": 22, "recall": 0.5, "return_dreamed": 0.3, "return_real": 0.5}
    result = {"config": {"horizon": 9, "world_model": SHIPPED[:16]}, "metrics": {"rows": [told]}}
    before = digest({"denoising_steps": result}, SHIPPED).splitlines()
    result["metrics"]["rows"] = [told | {"recall_ahead": ahead}]
    lines = digest({"denoising_steps": result}, SHIPPED).splitlines()
    last = {2: "in the last 2, of 9, 50%", 3: "in the last 3, of 5, 20%"}.get(stretches)
    expected = [f"| the same of those that came in the first 4 frames, of 8 | 75% | {last} |"] if last else []
    assert lines == before + expected


def row(system, observation, rate, engine=None, steps=1, batch=8):
    """One row of a benchmark of speed."""
    place = {"system": system, "observation": observation, "batch": batch, "denoising_steps": steps}
    return place | {"steps_per_s": rate, "engine": engine}


def test_speed_is_that_of_the_fastest_row_of_one_step_as_it_comes_and_at_best():
    rows = [row("stock_maze", "pixels", 50, steps=None, batch=4), row("wmgym_maze", "pixels", 700, steps=None)]
    rows += [
        row("unet_env", "pixels", 10, steps=3),
        row("dream", "pixels", 200, "fast"),
        row("dream", "pixels", 9000, "fast", 2),
    ]
    rows += [row("dream", "pixels", 300, "fast"), row("dream", "pixels", 1500, "compiled")]
    rows += [row("dream", "features", 600, "fast"), row("dream", "features", 500, "plain")]
    age = {"frames": 10_000, "old_ms": 5.1, "young_ms": 5.0}
    config = {"world_model": SHIPPED[:16]}
    table = digest({"bench_dream": {"config": config, "metrics": {"rows": rows, "age": age}}}, SHIPPED)
    assert "| dream steps a second on 4 cores, pixels: by default, and compiled | 300, 1,500 |" in table
    assert "| dream steps a second on 4 cores, features: by default, and fast | 600, 600 |" in table
    assert "| stock maze 50, our real maze 700, a diffusion U-Net 10 |" in table
    assert "| 5.0 ms | after 10,000 frames 2.0% longer |" in table
    assert "9,000" not in table


def test_no_results_make_a_table_without_rows():
    assert digest({}, SHIPPED).count("\n") == 1
