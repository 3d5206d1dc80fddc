"""Scores of memory tasks: PSNR and SSIM by hand, ages apart, and intervals that hold what they promise."""

import numpy as np
import pytest
import torch
from torch import nn

from wmgym.clips import ClipBatch
from wmgym.errors import DependencyError
from wmgym.memory_scores import age_curve, compare, pooled, score
from wmgym.memory_tasks import NEVER, MemoryTask
from wmgym.picture_metrics import crop, load_lpips, lpips, psnr_of, squared_error, ssim


def grey(*levels, size=16):
    return np.broadcast_to(np.array(levels, np.uint8)[..., None, None, None], (*np.shape(levels), size, size, 3)).copy()


def asked(truth, last_seen, stood_there=False):
    """A task with one shown frame."""
    images = np.concatenate([grey(*[[0]] * len(truth)), truth], axis=1)
    clips = ClipBatch(images, torch.zeros(images.shape[:2], dtype=torch.int64), None)
    seen = np.array(last_seen)
    return MemoryTask(clips, 1, np.zeros(seen.shape, np.int64), seen, (seen != NEVER) | stood_there)


def test_psnr_is_of_the_average_error_and_each_age_has_its_own():
    task = asked(grey([100, 100, 100], [100, 100, 100]), [[1, 3, NEVER], [1, NEVER, 3]])
    found, error = score(task, grey([110, 120, 100], [100, 105, 140]))
    squares = np.array([[100, 400, 0], [0, 25, 1600]])
    np.testing.assert_allclose(error * 255**2, squares, atol=1e-4)
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / squares.mean()))
    assert found["by_age"] == [
        {"age": 1, "psnr": pytest.approx(10 * np.log10(255**2 / 50)), "frames": 2},
        {"age": 3, "psnr": pytest.approx(10 * np.log10(255**2 / 1000)), "frames": 2},
    ]
    assert found["psnr_new"] == pytest.approx(10 * np.log10(255**2 / 12.5))
    assert found["by_frame"][0] == pytest.approx(10 * np.log10(255**2 / 50))
    assert (found["revisited"], found["turned"], found["new"]) == (4, 0, 2)
    found, _ = score(asked(grey([100, 100]), [[NEVER, NEVER]], [[True, False]]), grey([110, 100]))
    assert found["psnr_turned"] == pytest.approx(10 * np.log10(255**2 / 100))
    assert (found["psnr_new"], found["psnr_revisited"], found["by_age"]) == (60, None, [])


def test_equal_frames_count_60_decibels():
    frames = grey([7, 8])
    found, _ = score(asked(frames, [[1, 3]]), frames)
    assert (found["psnr"], found["mean_psnr"], found["ssim"]) == (60, 60, pytest.approx(1))
    assert found["psnr_new"] is None


def test_the_border_does_not_count():
    real = grey([50])
    dreamed = real.copy()
    dreamed[:, :, :2] = 255
    dreamed[:, :, :, -2:] = 255
    assert score(asked(real, [[1]]), dreamed, border=2)[0]["psnr"] == 60
    assert score(asked(real, [[1]]), dreamed)[0]["psnr"] < 20
    assert crop(real, 2).shape == (1, 1, 12, 12, 3)


def naive_ssim(a, b):
    """Wang and others 2004 for one channel: a Gaussian window of 11 pixels, 1.5 wide, the picture mirrored outside."""
    at = np.arange(11) - 5
    window = np.exp(-(at**2) / (2 * 1.5**2))
    kernel = torch.tensor(np.outer(window, window) / window.sum() ** 2)[None, None]
    pad = nn.ReflectionPad2d(5)

    def blur(v):
        return nn.functional.conv2d(pad(torch.tensor(v)[None, None]), kernel)[0, 0].numpy()

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return similar.mean()


def test_ssim_is_the_published_formula():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (2, 1, 24, 24, 3), np.uint8)
    dreamed = (real * 0.7 + rng.integers(0, 60, real.shape)).astype(np.uint8)
    expected = [[np.mean([naive_ssim(r[0, ..., c] / 255, d[0, ..., c] / 255) for c in range(3)])]
                for r, d in zip(real, dreamed, strict=True)]  # fmt: skip
    np.testing.assert_allclose(ssim(real, dreamed), expected, atol=1e-4)


def test_lpips_without_its_weights_is_refused_and_never_replaced(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchmetrics.image.lpip", None)
    with pytest.raises(DependencyError, match=r"LPIPS cannot be measured.*torchvision"):
        load_lpips()


def test_lpips_asks_the_network_about_every_frame():
    """A stand-in that tells how much darker the first picture is, from -1 to 1."""

    class Darker(nn.Module):
        def forward(self, a, b):
            assert a.shape == b.shape == (1, 3, 16, 16)
            return (b - a).mean()

    found, _ = score(asked(grey([0, 255]), [[1, 3]]), grey([255, 255]), perceptual=Darker())
    assert found["lpips"] == pytest.approx(-1.0)
    assert lpips(grey([0, 255]), grey([255, 255]), Darker())[0, 1] == pytest.approx(0.0)


def trainings(rng, count, apart):
    """Errors of 24 episodes, alike for all trainings of a system but for a factor of so many dB."""
    episodes = rng.exponential(0.01, (24, 2))
    return [episodes * 10 ** (apart * rng.normal() / 10) for _ in range(count)]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """The truth is 20 dB, but for the factor's mean, which stands in the exponent. 95 % of 300 are 285 +- 8."""
    rng, held = np.random.default_rng(0), 0
    truth = 20 - 10 * np.log10(np.mean(10 ** (np.random.default_rng(1).normal(size=10**6) / 10)))
    for i in range(300):
        low, high = pooled(trainings(rng, 3, apart=1.0), seed=i)["ci95"]
        held += low <= truth <= high
    assert held >= 273


def test_equal_systems_are_hardly_ever_told_apart():
    """Trainings that differ by 1 dB, three of each: 2.5 % of 300 are 8 +- 3."""
    rng = np.random.default_rng(0)
    told = 0
    for i in range(300):
        both = trainings(rng, 6, apart=1.0)
        told += compare(both[:3], both[3:], seed=i)["shown"]
    assert told <= 14


def test_the_order_in_which_runs_are_given_says_nothing():
    def runs(*decibels):
        return [np.full((24, 1), 10 ** (-db / 10)) for db in decibels]

    assert compare(runs(20, 21, 22), runs(19, 20, 21)) == compare(runs(20, 21, 22), runs(21, 20, 19))
    assert not compare(runs(20, 21, 22), runs(19, 20, 21))["shown"]
    assert compare(runs(20, 21, 22), runs(19, 20, 21.1), paired=True)["shown"]  # the same trainings: one dB each


def test_one_episode_has_no_interval():
    assert pooled([np.full((1, 4), 0.01)] * 3)["ci95"] is None
    assert not compare([np.full((1, 4), 0.01)] * 3, [np.full((1, 4), 0.1)] * 3)["shown"]


def test_clips_of_an_episode_stay_together():
    """Twenty copies of what each episode shows make it no better known."""
    episodes = np.random.default_rng(0).exponential(0.01, (12, 1))
    assert pooled([episodes.repeat(20, axis=1)])["ci95"] == pytest.approx(pooled([episodes])["ci95"])


def test_who_is_ahead_is_told_with_its_certainty():
    episodes = np.random.default_rng(1).exponential(0.01, (30, 4))
    system = [episodes, episodes * 1.01, episodes * 0.99]
    assert not compare(system, [run * 1.001 for run in reversed(system)])["shown"]
    clear = compare(system, [run * 2 for run in system])
    assert clear["shown"]
    assert clear["db"] == pytest.approx(10 * np.log10(2), abs=0.01)
    assert clear["ci95"][0] < clear["db"] < clear["ci95"][1]
    assert clear["runs"] == [3, 3]


def test_neighbouring_ages_share_a_point_of_the_curve():
    def at(age, error, frames):
        return {"age": age, "psnr": -10 * np.log10(error), "frames": frames}

    rows = [{"by_age": [at(1, 0.1, 100), at(3, 0.2, 30), at(5, 0.4, 30), at(7, 0.3, 5)]}]
    ages, curve = age_curve(rows)
    assert ages == pytest.approx([1, (90 + 150 + 35) / 65])  # the last five frames are too few for a point of their own
    np.testing.assert_allclose(curve, -10 * np.log10([0.1, (0.2 * 30 + 0.4 * 30 + 0.3 * 5) / 65]))
    assert age_curve([{"by_age": []}]) == ([], [])
    ages, curve = age_curve([*rows, {"by_age": [at(1, 0.3, 100)]}])
    assert curve[0] == pytest.approx(-10 * np.log10(0.2))


def test_frames_that_do_not_count_change_nothing():
    """Three episodes with 4, 2 and no frames that count: the pooled error is that of the six."""
    error = np.full((3, 4), np.nan)
    error[0], error[1, :2] = 0.01, 0.04
    assert pooled([error])["psnr"] == pytest.approx(-10 * np.log10(0.02))
    assert pooled([error])["ci95"] is not None
    assert compare([error] * 3, [2 * error] * 3)["ci95"] == pytest.approx([10 * np.log10(2)] * 2)


def test_two_trainings_show_nothing_however_far_ahead():
    episodes = np.random.default_rng(1).exponential(0.01, (30, 4))
    ahead = compare([episodes] * 3, [episodes * 9] * 2)
    assert ahead["ci95"][0] > 0
    assert not ahead["shown"]


def test_psnr_of_nothing_wrong_is_capped():
    assert psnr_of(np.zeros(3)) == 60
    assert squared_error(grey([0]), grey([255]))[0, 0] == pytest.approx(1)
