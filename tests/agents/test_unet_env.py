"""The yardstick of speed: it is of the published size, samples as published, and keeps time as an environment does."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from agents.unet_env import UNetEnv, noise_levels, sample


@pytest.fixture(scope="module")
def env():
    return UNetEnv(2, denoising_steps=1)


def test_the_denoiser_has_as_many_parameters_as_published(env):
    assert 4.0e6 < sum(weight.numel() for weight in env.unet.parameters()) < 4.9e6


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_noise_levels_are_evenly_spaced_in_their_seventh_roots(steps):
    levels = noise_levels(steps)
    expected = np.linspace(5.0 ** (1 / 7), 0.002 ** (1 / 7), steps) ** 7
    np.testing.assert_allclose(levels[:-1], expected, rtol=1e-12)
    assert levels[-1] == 0


def test_the_sampler_ends_exactly_where_the_denoiser_points():
    frame = torch.rand(2, 3, 8, 8)
    assert torch.equal(sample(lambda noisy, i: frame, torch.randn(2, 3, 8, 8), noise_levels(3)), frame)


def test_the_sampler_takes_euler_steps_of_the_probability_flow():
    levels, noise, seen = noise_levels(3), torch.randn(1, 3, 4, 4, dtype=torch.float64), []
    expected = levels[0] * noise
    for now, after in pairwise(levels):
        expected = expected + (after - now) * (expected - expected / (1 + now**2)) / now
    result = sample(lambda noisy, i: seen.append(i) or noisy / (1 + levels[i] ** 2), noise, levels)
    torch.testing.assert_close(result, expected)
    assert seen == [0, 1, 2]


def test_the_denoiser_is_preconditioned(env):
    """Where the network answers nothing, only the skip connection is left."""
    with torch.inference_mode():
        denoise = env.unet.denoiser(torch.zeros(1, 12, 64, 64), torch.zeros(1, 4, dtype=torch.int64))
        last, noisy = env.unet.out[-1], torch.randn(1, 3, 64, 64)
        weights = [weight.clone() for weight in last.parameters()]
        for weight in last.parameters():
            weight.zero_()
        skipped = denoise(noisy, 0)
        last.bias.fill_(1)
        answered = denoise(noisy, 0)
        for weight, kept in zip(last.parameters(), weights, strict=True):
            weight.copy_(kept)
    torch.testing.assert_close(skipped, noisy * 0.25 / 25.25)
    torch.testing.assert_close(answered - skipped, torch.full_like(noisy, 5 * 0.5 / 25.25**0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_are_pixels_rewards_and_ends(dtype):
    env = UNetEnv(2, denoising_steps=1, dtype=dtype)
    first = env.reset()
    frames, rewards, ends = env.step(np.array([0, 5]))
    assert first.shape == frames.shape == (2, 64, 64, 3)
    assert first.dtype == frames.dtype == np.uint8
    assert frames.std() > 1
    assert rewards.shape == ends.shape == (2,)
    assert rewards.dtype == np.float64
    assert set(rewards) <= {-1.0, 0.0, 1.0}
    assert ends.dtype == np.bool_
    assert env.history.dtype == dtype


def test_the_oldest_frame_and_action_make_room_for_the_newest(env):
    first = env.reset()
    before = env.history.clone()
    np.testing.assert_array_equal(first, _pixels(before[..., -3:]))
    frames, _, _ = env.step(np.array([1, 2]))
    assert torch.equal(env.history[..., :-3], before[..., 3:])
    np.testing.assert_array_equal(frames, _pixels(env.history[..., -3:]))
    env.step(np.array([3, 4]))
    assert env.actions.tolist() == [[0, 0, 1, 3], [0, 0, 2, 4]]


def test_one_seed_makes_one_dream_and_leaves_the_global_generator_alone():
    def dream(seed):
        env = UNetEnv(1, denoising_steps=1, seed=seed)
        return env.step(np.zeros(1, np.int64))[0]

    before = torch.get_rng_state()
    assert np.array_equal(dream(3), dream(3))
    assert not np.array_equal(dream(3), dream(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_actions_and_past_matter(env):
    def frame(history, actions):
        with torch.inference_mode():
            denoise = env.unet.denoiser(history, torch.tensor([actions]))
            return denoise(torch.ones(1, 3, 64, 64), 0)

    blank = torch.zeros(1, 12, 64, 64)
    start = frame(blank, [0, 0, 0, 0])
    assert not torch.equal(start, frame(blank, [1, 0, 0, 0]))
    assert not torch.equal(start, frame(blank + 1, [0, 0, 0, 0]))


def test_rows_denoised_a_few_at_a_time_come_out_as_all_at_once():
    dreams = []
    for rows in (2, 3):
        env = UNetEnv(3, denoising_steps=1)
        env._rows = rows
        dreams.append(env.step(np.arange(3))[0].astype(int))
    assert np.abs(dreams[0] - dreams[1]).max() <= 1


def floating_point_operations(denoising_steps):
    """Operations of one step of one environment, two for a multiply-add: convolutions and products."""
    with FlopCounterMode(display=False) as counter:
        UNetEnv(1, denoising_steps).step(np.zeros(1, np.int64))
    return counter.get_total_flops()


def test_operations_grow_evenly_with_denoising_steps():
    one, three = floating_point_operations(1), floating_point_operations(3)
    call = (three - one) / 2
    assert 5.5e9 < call < 6.5e9
    assert call < one < 1.1 * call  # the rest is of rewards and ends, and of the past, taken in once a frame


def _pixels(frames):
    return ((frames.float() + 1) * 127.5).round().to(torch.uint8).numpy()
