"""What the measures of efficiency count: bytes, frames seen, repetitions, and how a cost grows."""

import pytest
import torch

from model.backbones import with_backbone
from model.config import PRESETS
from model.lssvwm import LSSVWM
from wmgym import efficiency
from wmgym.efficiency import dreaming_cost, growth_exponent, memory_after, sliding_cost, training_cost

STEPPABLE = ("lssvwm", "mamba2", "mamba2_local", "causal", "causal_window", "videossm", "lssvwm_block1")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(efficiency, "CHUNK", 4)
    monkeypatch.setattr(efficiency, "REPETITIONS", 1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def build(name):
    return LSSVWM(with_backbone(PRESETS["micro"].dynamics, name))


@pytest.mark.parametrize(("power", "constant"), [(0, 3e-3), (1, 2e-5), (2, 7e-9)])
def test_the_exponent_of_a_power_is_found(power, constant):
    lengths = [800, 50, 200, 100, 400]
    assert growth_exponent(lengths, [constant * n**power for n in lengths]) == pytest.approx(power, abs=1e-12)


def test_only_the_two_longest_lengths_count():
    assert growth_exponent([10, 100, 1000], [9.0, 1.0, 100.0]) == pytest.approx(2)
    assert growth_exponent([100], [1.0]) is None
    assert growth_exponent([], []) is None


@pytest.mark.parametrize("name", STEPPABLE)
def test_memory_has_seen_what_it_should_and_is_as_large_as_if_observed(name, generator):
    model = build(name)
    memory = model.initial_memory(1)
    for frames in (3, 11):
        memory = memory_after(model, memory, frames, generator)
        latents, actions = efficiency.random_frames(model, frames, generator)
        with torch.no_grad():
            _, observed = model.observe(model.initial_memory(1), latents, actions)
        assert int(memory.seen) == frames
        assert {k: v.shape for k, v in memory.to_dict().items()} == {k: v.shape for k, v in observed.to_dict().items()}
        assert dreaming_cost(model, memory, 0.0, generator).bytes == observed.nbytes
    assert int(memory.seen) == 11, "timing leaves memory as it was"


def test_a_memory_goes_on_from_the_one_before(generator):
    model = build("lssvwm")
    in_two = memory_after(model, memory_after(model, model.initial_memory(1), 4, generator), 12, generator)
    at_once = memory_after(model, model.initial_memory(1), 12, generator.manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(in_two.to_dict().values(), at_once.to_dict().values(), strict=True))


@pytest.mark.parametrize(("context", "frames"), [(10, 11), (24, 25), (1000, 25)])
def test_without_memory_a_window_of_latents_is_counted(context, frames, generator):
    c = PRESETS["micro"].dynamics
    cost = sliding_cost(build("dfot"), context, 0.0, generator)
    assert cost.bytes == frames * c.latent_channels * c.latent_size**2 * 4


@pytest.mark.parametrize(("name", "least", "most"), [("lssvwm", 0.9, 1.1), ("causal", 1.5, 2.0), ("dfot", 0.8, 1.1)])
def test_what_the_backward_pass_needs_grows_as_it_should(name, least, most, generator):
    model = build(name)
    sizes = [training_cost(model, frames, 0.0, generator).bytes for frames in (40, 80)]
    assert least < growth_exponent([40, 80], sizes) < most
    assert all(p.grad is None for p in model.parameters())


def test_the_weights_are_part_of_what_the_backward_pass_needs(generator):
    model = build("lssvwm")
    weights = sum(p.numel() for p in model.parameters() if p.dim() == 2) * 4
    # scans of whole chunks, of which there are several in both: else they keep other things
    short, long = (training_cost(model, frames, 0.0, generator).bytes for frames in (64, 128))
    assert 2 * short - long > 0.8 * weights


def test_times_are_medians_without_the_first(monkeypatch):
    clock, durations = [0.0], iter([100.0, 1.0, 7.0, 2.0])

    def run():
        clock[0] += next(durations)

    monkeypatch.setattr(efficiency, "REPETITIONS", 3)
    monkeypatch.setattr(efficiency.time, "perf_counter", lambda: clock[0])
    assert efficiency._time(run, 0.5, torch.device("cpu")) == (2.0, None)
    assert next(durations, None) is None


def test_short_runs_are_repeated_for_as_long_as_asked(monkeypatch):
    clock, calls = [0.0], []

    def run():
        calls.append(None)
        clock[0] += 0.25

    monkeypatch.setattr(efficiency.time, "perf_counter", lambda: clock[0])
    assert efficiency._time(run, 5.0, torch.device("cpu"), warm=True) == (0.25, None)
    assert len(calls) == 20
