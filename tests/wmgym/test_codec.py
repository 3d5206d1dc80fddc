"""Pixels cross the border without loss."""

import numpy as np
import pytest
import torch

from wmgym.codec import frames_to_tensor, psnr, tensor_to_frames

ALL_LEVELS = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)


def test_all_256_levels_come_back():
    pixels = frames_to_tensor(ALL_LEVELS)
    assert pixels.dtype == torch.float32
    np.testing.assert_array_equal(tensor_to_frames(pixels), ALL_LEVELS)


def test_levels_run_from_minus_one_to_one_in_equal_steps():
    pixels = frames_to_tensor(ALL_LEVELS)[0].flatten()
    assert (pixels[0].item(), pixels[255].item()) == (-1, 1)
    torch.testing.assert_close(pixels.diff(), torch.full((255,), 2 / 255), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_channels_go_first_inside_and_last_outside(batch):
    frames = np.random.default_rng(0).integers(0, 256, (*batch, 4, 6, 3), np.uint8)
    pixels = frames_to_tensor(frames)
    assert pixels.shape == (*batch, 3, 4, 6)
    assert pixels[..., 2, 1, 5].numpy() == pytest.approx(frames[..., 1, 5, 2] / 127.5 - 1)
    again = tensor_to_frames(pixels)
    assert (again.dtype, again.shape) == (np.uint8, frames.shape)
    np.testing.assert_array_equal(again, frames)


def test_values_beyond_are_clipped_and_others_rounded():
    values = torch.tensor([-7.0, -1.001, -1 + 0.9 / 255, -1 + 1.1 / 255, 1.001, 7.0]).reshape(2, 3, 1, 1)
    assert tensor_to_frames(values)[:, 0, 0].tolist() == [[0, 0, 0], [1, 255, 255]]


def test_frames_are_copied_and_may_be_views():
    frames = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    turned = frames[::-1, ::2]
    pixels = frames_to_tensor(turned)
    np.testing.assert_array_equal(tensor_to_frames(pixels), turned)
    pixels.zero_()
    assert frames.any()
    frames.flags.writeable = False
    np.testing.assert_array_equal(tensor_to_frames(frames_to_tensor(frames)), frames)


def test_psnr_in_closed_form():
    black = np.zeros((2, 8, 8, 3), np.uint8)
    other = black.copy()
    other[0] = 255
    other[1, :4] = 51
    expected = [0, 10 * np.log10(255**2 / (51**2 / 2))]
    np.testing.assert_allclose(psnr(black, other), expected, atol=1e-12)
    np.testing.assert_allclose(psnr(other, black), expected, atol=1e-12)


def test_psnr_of_equal_frames_is_finite():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    assert np.isfinite(psnr(frames, frames)).all()
    assert (psnr(frames, frames) > 100).all()
    assert psnr(frames[0], frames[1]).shape == ()
