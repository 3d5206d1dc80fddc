"""The sampler on a Gaussian whose best denoiser is known, and the noise it starts from."""

import math

import pytest
import torch

from model.sampler import check_denoising_steps, draw_noise, sample

MEAN, STD = 1.5, 0.4


def gaussian_denoiser(max_steps):
    """E[x | z] for x ~ N(MEAN, STD^2) and z = tau x + (1 - tau) eps."""

    def denoise(z, level, stride):
        tau = level / max_steps
        gain = tau * STD**2 / (tau**2 * STD**2 + (1 - tau) ** 2)
        return MEAN + gain * (z - tau * MEAN)

    return denoise


def test_many_steps_reach_mean_and_spread():
    """40,000 draws; 5 standard errors are 0.01 for the mean and 0.007 for the spread, the step error is 0.002."""
    noise = torch.randn(40_000, 1, 1, 1)
    drawn = sample(gaussian_denoiser(256), noise, 256, 256)
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.012)
    assert drawn.std().item() == pytest.approx(STD, abs=0.01)


def test_one_step_lands_on_the_mean():
    drawn = sample(gaussian_denoiser(8), torch.randn(5, 1, 1, 1), 1, 8)
    torch.testing.assert_close(drawn, torch.full((5, 1, 1, 1), MEAN))


def test_the_error_falls_with_the_number_of_steps_to_the_first_power():
    """The exact map of this flow is eps -> MEAN + STD eps; Euler's error at eps = 1 must halve with the step."""
    steps = [2**i for i in range(4, 10)]
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    errors = [abs(sample(gaussian_denoiser(512), one, n, 512).item() - MEAN - STD) for n in steps]
    slope = math.log(errors[-1] / errors[0]) / math.log(steps[-1] / steps[0])
    assert slope == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, [(0, 3)]), (2, [(0, 2), (4, 2)]), (8, [(level, 0) for level in range(8)])],
)
def test_asks_for_levels_in_equal_strides(steps, expected):
    asked = []

    def denoise(z, level, stride):
        asked.append((level, stride))
        return z

    noise = torch.randn(2, 1, 1, 1)
    assert torch.equal(sample(denoise, noise, steps, 8), noise)
    assert asked == expected


def test_follows_the_velocity_of_the_prediction():
    """By hand: from 1 towards a constant prediction of 5 in two steps, half the way and then all of it."""
    trail = []

    def denoise(z, level, stride):
        trail.append(z.item())
        return torch.full_like(z, 5)

    assert sample(denoise, torch.ones(1, 1, 1, 1), 2, 8).item() == 5
    assert trail == [1, 3]


@pytest.mark.parametrize("steps", [0, -1, 3, 6, 16])
def test_refuses_steps_it_was_not_trained_for(steps):
    with pytest.raises(ValueError, match=rf"denoising_steps = {steps}, .*\[1, 2, 4, 8\]"):
        check_denoising_steps(steps, 8)
    with pytest.raises(ValueError, match=r"Pass one of \[1, 2, 4, 8\]"):
        sample(lambda z, level, stride: z, torch.zeros(1, 1, 1, 1), steps, 8)


def test_each_row_of_noise_comes_from_its_own_generator():
    seeds = [5, 1, 9]
    together = draw_noise([torch.Generator().manual_seed(s) for s in seeds], (2, 3))
    for row, seed in zip(together, seeds, strict=True):
        assert torch.equal(draw_noise([torch.Generator().manual_seed(seed)], (2, 3))[0], row)
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    first, second = draw_noise(generators, (2, 3)), draw_noise(generators, (2, 3))
    assert torch.equal(first, together)
    assert not torch.equal(first, second)
