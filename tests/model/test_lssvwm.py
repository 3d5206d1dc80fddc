"""The whole network: stepping is the sequence, the future is unseen, and training predicts what a dream will."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.sampler import sample
from tests.model.conftest import step_through

MIXES = ["micro", "cpu", "gpu", "oblong"]


def assert_memories_close(ours, theirs, atol):
    for name, value in ours.to_dict().items():
        torch.testing.assert_close(
            value, theirs.to_dict()[name], rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}"
        )


def assert_memories_equal(ours, theirs):
    assert_memories_close(ours, theirs, atol=0)


def streams_of(model, clean, noised, levels, strides):
    """Arguments of a two-stream pass: `clean` is remembered, `noised` reads."""
    top = torch.full_like(levels, model.config.max_denoising_steps)
    return (
        torch.stack([clean, noised], 1),
        torch.stack([top, levels], 1),
        torch.stack([torch.zeros_like(strides), strides], 1),
    )


@pytest.mark.parametrize("mix", ["micro", "cpu", "gpu"])
@torch.no_grad()
def test_stepping_equals_the_sequence_over_300_frames(mix, make_dynamics, make_episode):
    model = make_dynamics(mix)
    latents, actions = make_episode(model.config, 1, 300)
    whole, after = model.observe(model.initial_memory(1), latents, actions)
    stepped, memory = step_through(model, latents, actions)
    torch.testing.assert_close(stepped, whole, rtol=0, atol=1e-4)
    assert_memories_close(memory, after, atol=1e-4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the network is never changed
@given(frames=st.integers(2, 30), data=st.data())
@torch.no_grad()
def test_a_sequence_may_be_observed_in_two_parts(micro_dynamics, make_episode, frames, data):
    model = micro_dynamics
    split = data.draw(st.integers(1, frames - 1))
    latents, actions = make_episode(model.config, 2, frames)
    whole, after = model.observe(model.initial_memory(2), latents, actions)
    first, memory = model.observe(model.initial_memory(2), latents[:, :split], actions[:, :split])
    second, memory = model.observe(memory, latents[:, split:], actions[:, split:])
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-4)
    assert_memories_close(memory, after, atol=1e-4)


@pytest.mark.parametrize("changed_from", [1, 5, 11])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("mix", MIXES)
@torch.no_grad()
def test_later_frames_and_actions_change_no_earlier_output(mix, streams, changed_from, make_dynamics, make_episode):
    """Bit for bit: what a masked entry holds is multiplied by an exact zero."""
    model = make_dynamics(mix)
    latents, actions = make_episode(model.config, 2, 12)
    noised, levels = torch.randn_like(latents), torch.randint(0, 8, (2, 12))
    other, other_actions = make_episode(model.config, 2, 12)
    results = []
    for future in (False, True):
        seen, led, read = latents.clone(), actions.clone(), noised.clone()
        if future:
            for ours, theirs in ((seen, other), (led, other_actions), (read, 5 * other)):
                ours[:, changed_from:] = theirs[:, changed_from:]
        inputs, all_levels, all_strides = streams_of(model, seen, read, levels, torch.zeros_like(levels))
        last = slice(None) if streams == 2 else slice(1)
        predicted, features, _ = model(
            inputs[:, last], led, all_levels[:, last], all_strides[:, last], model.initial_memory(2)
        )
        results.append((predicted, features))
    for before, after in zip(*results, strict=True):
        assert torch.equal(before[:, :changed_from], after[:, :changed_from])
        assert not torch.equal(before[:, changed_from:], after[:, changed_from:])


@pytest.mark.parametrize(
    ("mix", "denoising_steps"),
    [("micro", 1), ("micro", 2), ("micro", 4), ("micro", 8), ("cpu", 2), ("gpu", 2), ("oblong", 4)],
)
@torch.no_grad()
def test_the_two_stream_pass_predicts_what_a_dream_of_each_frame_does(
    mix, denoising_steps, make_dynamics, make_episode
):
    """Frame t of one training pass = `imagine` after observing the frames before t, at every level and stride used."""
    model, frames = make_dynamics(mix), 11
    latents, actions = make_episode(model.config, 2, frames)
    noise = torch.randn_like(latents)

    def denoise_all(z, level, stride):
        """All frames of both rows at once, each from its own clean past."""
        z = z.unflatten(0, (2, frames))
        levels, strides = (torch.full((2, frames), v) for v in (level, stride))
        inputs, levels, strides = streams_of(model, latents, z, levels, strides)
        predicted, _, _ = model(inputs, actions, levels, strides, model.initial_memory(2))
        return predicted.flatten(0, 1)

    trained = sample(denoise_all, noise.flatten(0, 1), denoising_steps, model.config.max_denoising_steps)
    trained = trained.unflatten(0, (2, frames))
    memory = model.initial_memory(2)
    for t in range(frames):
        prediction, _ = model.imagine(memory, actions[:, t], noise[:, t], denoising_steps)
        torch.testing.assert_close(
            prediction.latent, trained[:, t], rtol=0, atol=1e-4, msg=lambda m, t=t: f"frame {t}: {m}"
        )
        _, memory = model.observe(memory, latents[:, t : t + 1], actions[:, t : t + 1])


@torch.no_grad()
def test_levels_strides_and_actions_steer_only_their_own_frame_of_the_reading_stream(make_dynamics, make_episode):
    model = make_dynamics()
    latents, actions = make_episode(model.config, 1, 6)
    noised, levels = torch.randn_like(latents), torch.tensor([[0, 4, 7, 2, 0, 6]])
    strides = torch.tensor([[3, 2, 0, 1, 0, 1]])

    def predict(levels, strides):
        inputs, levels, strides = streams_of(model, latents, noised, levels, strides)
        return model(inputs, actions, levels, strides, model.initial_memory(1))[0]

    before = predict(levels, strides)
    for changed in (predict(levels.index_fill(1, torch.tensor([2]), 1), strides),
                    predict(levels, strides.index_fill(1, torch.tensor([2]), 2))):  # fmt: skip
        differs = (changed != before).flatten(2).any(-1)[0]
        assert differs.tolist() == [False, False, True, False, False, False]


@torch.no_grad()
def test_imagine_takes_in_the_finished_frame_and_leaves_the_given_memory(make_dynamics, make_episode):
    model = make_dynamics()
    latents, actions = make_episode(model.config, 3, 5)
    _, memory = model.observe(model.initial_memory(3), latents, actions)
    before, action = memory.clone(), torch.tensor([0, 3, 5])
    prediction, after = model.imagine(memory, action, torch.randn_like(latents[:, 0]), 4)
    assert_memories_equal(memory, before)
    features, committed = model.observe(memory, prediction.latent[:, None], action[:, None])
    assert torch.equal(prediction.features, features[:, 0])
    assert_memories_equal(after, committed)
    reward, terminated = model.heads.decide(prediction.features)
    assert torch.equal(prediction.reward, reward)
    assert torch.equal(prediction.terminated, terminated)


@torch.no_grad()
def test_memory_costs_the_same_at_frame_10_and_at_frame_2000(make_dynamics, make_episode):
    model = make_dynamics()
    memory, sizes = model.initial_memory(1), {}
    latents, actions = make_episode(model.config, 1, 100)
    start = memory.nbytes
    for first in range(0, 2000, 100):
        _, early = model.observe(memory, latents[:, :10], actions[:, :10])
        sizes[first + 10] = early.nbytes
        _, memory = model.observe(memory, latents, actions)
        sizes[first + 100] = memory.nbytes
    assert set(sizes.values()) == {start}
    assert {10, 2000} <= set(sizes)
    assert memory.seen.tolist() == [2000]
    assert all(v.isfinite().all() for v in memory.to_dict().values())


@torch.no_grad()
def test_dreams_do_not_depend_on_their_neighbours(make_dynamics, make_episode):
    """Alone a dream agrees to rounding; in a batch of the same size, neighbours change not a bit."""
    model = make_dynamics()
    latents, actions = make_episode(model.config, 4, 8)
    noise, action = torch.randn_like(latents[:, 0]), torch.tensor([1, 2, 3, 4])

    def dream(rows):
        _, memory = model.observe(model.initial_memory(len(rows)), latents[rows], actions[rows])
        return model.imagine(memory, action[rows], noise[rows], 2)

    together, memory = dream([0, 1, 2, 3])
    for i in range(4):
        alone, memory_alone = dream([i])
        torch.testing.assert_close(alone.latent, together.latent[i : i + 1], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone.features, together.features[i : i + 1], rtol=0, atol=1e-5)
        assert_memories_close(memory_alone, memory.select(torch.tensor([i])), atol=1e-5)
    elsewhere, _ = dream([3, 1, 3, 3])
    assert torch.equal(elsewhere.latent[1], together.latent[1])
    assert torch.equal(elsewhere.features[1], together.features[1])


@torch.no_grad()
def test_dreams_of_different_age_share_a_batch(make_dynamics, make_episode):
    model = make_dynamics()
    latents, actions = make_episode(model.config, 2, 6)
    ages = [model.observe(model.initial_memory(2), latents[:, :n], actions[:, :n])[1] for n in (1, 2, 6)]
    mixed = ages[0].select(torch.tensor([0, 0, 0]))
    for i, memory in enumerate(ages):
        mixed = mixed.replace(torch.tensor([i]), memory.select(torch.tensor([1])))
    noise, action = torch.randn_like(latents[:1, 0]).repeat(3, 1, 1, 1), torch.tensor([2, 2, 2])
    together, _ = model.imagine(mixed, action, noise, 1)
    for i, memory in enumerate(ages):
        alone, _ = model.imagine(memory.select(torch.tensor([1])), action[:1], noise[:1], 1)
        torch.testing.assert_close(alone.latent, together.latent[i : i + 1], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_past_and_the_action_change_the_dream(make_dynamics, make_episode):
    model = make_dynamics()
    latents, actions = make_episode(model.config, 1, 30)
    _, memory = model.observe(model.initial_memory(1), latents, actions)
    _, other = model.observe(model.initial_memory(1), latents.roll(1, dims=1), actions)
    noise = torch.randn_like(latents[:, 0])
    dreams = [
        model.imagine(m, torch.tensor([a]), noise, 1)[0].latent for m, a in ((memory, 0), (memory, 1), (other, 0))
    ]
    assert (dreams[0] - dreams[1]).abs().mean() > 1e-3
    assert (dreams[0] - dreams[2]).abs().mean() > 1e-3


@pytest.mark.parametrize("action", [-2, 6])
def test_refuses_actions_out_of_range(action, make_dynamics, make_episode):
    model = make_dynamics()
    latents, actions = make_episode(model.config, 2, 3)
    actions[1, 2] = action
    with pytest.raises(ValueError, match=rf"{action}.*expected 0 to 5, or -1 where no action led"):
        model.observe(model.initial_memory(2), latents, actions)
    with pytest.raises(ValueError, match=rf"{action}.*expected 0 to 5, or -1 where no action led"):
        model.imagine(model.initial_memory(2), actions[:, 2], latents[:, 0], 1)


@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 4, 8), (4, 8, 16)])
def test_refuses_latents_of_another_shape(shape, make_dynamics):
    model = make_dynamics()
    actions = torch.zeros(2, 3, dtype=torch.int64)
    named = rf"\({shape[0]}, {shape[1]}, {shape[2]}\) given, this model works on \(4, 8, 8\)"
    with pytest.raises(ValueError, match=named):
        model.observe(model.initial_memory(2), torch.zeros(2, 3, *shape), actions)
    with pytest.raises(ValueError, match=named):
        model.imagine(model.initial_memory(2), actions[:, 0], torch.zeros(2, *shape), 1)


@pytest.mark.parametrize("denoising_steps", [0, 3, 16, -1])
def test_refuses_step_counts_it_was_not_trained_for(denoising_steps, make_dynamics):
    model = make_dynamics()
    with pytest.raises(ValueError, match=rf"denoising_steps = {denoising_steps},.*\[1, 2, 4, 8\]"):
        model.imagine(model.initial_memory(1), torch.tensor([0]), torch.zeros(1, 4, 8, 8), denoising_steps)


def test_a_first_frame_can_be_dreamed_from_nothing(make_dynamics):
    model = make_dynamics()
    with torch.no_grad():
        prediction, memory = model.imagine(model.initial_memory(2), torch.tensor([-1, -1]), torch.randn(2, 4, 8, 8), 2)
    assert prediction.latent.isfinite().all()
    assert memory.seen.tolist() == [1, 1]


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("mix", MIXES)
@torch.no_grad()
def test_without_remembering_the_prediction_is_the_same(mix, streams, make_dynamics, make_episode):
    model = make_dynamics(mix)
    latents, actions = make_episode(model.config, 2, 9)
    _, memory = model.observe(model.initial_memory(2), latents, actions)
    levels = torch.randint(0, 8, (2, 9))
    inputs = [v[:, -streams:] for v in streams_of(model, latents, torch.randn_like(latents), levels, 0 * levels)]
    predicted, features, _ = model(inputs[0], actions, *inputs[1:], memory)
    fleeting, fleeting_features, same = model(inputs[0], actions, *inputs[1:], memory, remember=False)
    assert same is memory
    torch.testing.assert_close(fleeting, predicted, rtol=0, atol=1e-6)
    torch.testing.assert_close(fleeting_features, features, rtol=0, atol=1e-6)


@torch.no_grad()
def test_memory_stays_float32_under_mixed_precision(make_dynamics, make_episode):
    """Rounding to bfloat16 (8 bits) must not add up over frames: as far off at the end as at the start."""
    model = make_dynamics("cpu")
    latents, actions = make_episode(model.config, 2, 60)
    exact, _ = model.observe(model.initial_memory(2), latents, actions)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, memory = model.observe(model.initial_memory(2), latents, actions)
    assert {v.dtype for v in memory.to_dict().values()} == {torch.float32, torch.int64}
    error = (rounded.float() - exact).square().mean((0, 2)).sqrt()
    assert error.max() < 0.1
    assert error[-20:].mean() < 2 * error[:20].mean()


@torch.no_grad()
def test_dreams_under_mixed_precision(make_dynamics):
    model = make_dynamics()
    noise, action = torch.randn(2, 4, 8, 8), torch.tensor([1, 2])
    exact, _ = model.imagine(model.initial_memory(2), action, noise, 2)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, memory = model.imagine(model.initial_memory(2), action, noise, 2)
    assert (rounded.latent.float() - exact.latent).square().mean().sqrt() < 0.05
    assert {v.dtype for v in memory.to_dict().values()} == {torch.float32, torch.int64}
