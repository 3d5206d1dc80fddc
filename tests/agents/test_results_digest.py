"""The few numbers to read first: they are the results', and what is not there is left out."""

import pytest

from agents.results_digest import digest, verb_of

NAMES = ("random policy", "random policy with bursts", "PPO trained in dreams")


def of_agents(*means, verdicts):
    """A result of three policies, their real returns as given."""
    policies = [
        {"name": name, "real": {"mean": mean, "ci95": [mean - 0.25, mean + 0.25], "episodes": 9, "steps": 40}}
        for name, mean in zip(NAMES, means, strict=True)
    ]
    return {"metrics": {"policies": policies, "verdicts": verdicts}}


def test_an_agent_stands_beside_the_policy_that_explores_as_it_does():
    verdicts = [f"In the real environment, {NAMES[2]} is worse than {NAMES[1]}: -0.50 an episode."]
    lines = digest({"dream_ppo_full": of_agents(0, 2.5, 2, verdicts=verdicts), "unknown": {}}).splitlines()
    assert len(lines) == 3
    told = "| real return in 40 steps: PPO trained only in the dream | 2.00 (1.75 to 2.25) |"
    assert lines[2] == f"{told} is worse than random policy with bursts, 2.50 |"


def test_a_verdict_on_others_is_not_taken_for_one_on_these():
    both = [f"In the real environment, {NAMES[1]} beats {NAMES[0]}: +1.", f"so {NAMES[2]} beats {NAMES[0]}: +1."]
    assert verb_of(of_agents(0, 1, 1, verdicts=both), NAMES[1], NAMES[0]) == "beats"
    with pytest.raises(ValueError, match="no verdict on PPO trained in dreams against random policy with bursts"):
        verb_of(of_agents(0, 1, 1, verdicts=both), NAMES[2], NAMES[1])


def test_a_verdict_on_a_longer_name_is_not_taken_for_one_on_its_end():
    told = f"In the real environment, Recurrent{NAMES[2]} beats {NAMES[1]}: +1."
    with pytest.raises(ValueError, match="no verdict on PPO trained in dreams"):
        verb_of(of_agents(0, 1, 1, verdicts=[told]), NAMES[2], NAMES[1])
    ours = f"In the real environment, {NAMES[2]} is worse than {NAMES[1]}: -1."
    assert verb_of(of_agents(0, 1, 1, verdicts=[told, ours]), NAMES[2], NAMES[1]) == "is worse than"


def test_speed_is_that_of_the_fastest_row_of_one_step():
    def row(system, observation, batch, rate, steps=1):
        compared = {"against_stock": rate / 50, "against_unet": rate / 10, "latency_ms": 1000 * batch / rate}
        return {"system": system, "observation": observation, "batch": batch, "denoising_steps": steps} | compared | {
            "steps_per_s": rate
        }  # fmt: skip

    rows = [row("stock_maze", "pixels", 4, 50, None), row("dream", "pixels", 1, 200), row("dream", "pixels", 8, 1500)]
    rows += [row("dream", "pixels", 8, 9000, 0), row("dream", "features", 16, 3000), row("unet_env", "pixels", 8, 10)]
    age = {"frames": 10_000, "old_ms": 5.1, "young_ms": 5.0}
    table = digest({"bench_dream": {"metrics": {"rows": rows, "age": age}}})
    told = "pixels, 8 at once, on 4 cores | 1,500 | 30 times the stock maze, 150 times a diffusion U-Net"
    assert f"| dream steps a second, {told} |" in table
    assert "features, 16 at once, on 4 cores | 3,000 | 60 times" in table
    assert "| one dream alone, a step of pixels | 5.0 ms | after 10,000 frames 2.0% longer |" in table
    assert "9,000" not in table


def test_no_results_make_a_table_without_rows():
    assert digest({}).count("\n") == 1
