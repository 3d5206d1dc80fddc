"""What is handed to mamba-ssm's kernels, with a stand-in that computes what their documentation says."""

from types import SimpleNamespace

import pytest
import torch

from model import mamba_kernels
from model.ssm import chunked_scan, scan_reference


def documented_scan(x, dt, a, b, c, chunk_size, initial_states, return_final_states):
    """`mamba_chunk_scan_combined` as a loop: S = exp(dt A) S + dt x B^T, y = S C; groups of heads share B and C."""
    assert return_final_states
    state, outputs = initial_states, []
    for i in range(x.shape[1]):
        decay = (dt[:, i] * a).exp()[..., None, None]
        written = (dt[:, i, :, None] * x[:, i])[..., None] * b[:, i, 0][:, None, None]
        state = decay * state + written
        outputs.append(torch.einsum("ghpn,gn->ghp", state, c[:, i, 0]))
    return torch.stack(outputs, 1), state


def draw(streams=1):
    shape = (3, streams, 5, 4)
    return (
        torch.randn(*shape, 2, 6),
        -torch.rand(*shape, 2) - 1e-3,
        torch.randn(*shape, 7),
        torch.randn(*shape, 7),
        torch.randn(3, 2, 6, 7),
    )


@pytest.fixture
def kernels(monkeypatch):
    """Pretends that a GPU and the package are there."""
    module = SimpleNamespace(mamba_chunk_scan_combined=documented_scan)
    monkeypatch.setattr(mamba_kernels, "_kernels", lambda: module)
    monkeypatch.setattr(mamba_kernels, "usable", lambda x: True)


def test_a_processor_has_no_kernels():
    assert not mamba_kernels.usable(torch.zeros(1))


def test_without_kernels_the_scan_says_so():
    with pytest.raises(RuntimeError, match="mamba-ssm's kernels were asked for"):
        mamba_kernels.scan(*draw(), 8)


@pytest.mark.usefixtures("kernels")
def test_the_kernels_scan_what_the_reference_scans():
    inputs = draw()
    for ours, theirs in zip(chunked_scan(*inputs, 8), scan_reference(*inputs), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("kernels")
def test_two_streams_stay_with_the_own_scan():
    inputs = draw(streams=2)
    for ours, theirs in zip(chunked_scan(*inputs, 8), scan_reference(*inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_the_real_kernels_equal_the_reference():
    pytest.importorskip("mamba_ssm")
    generator = torch.Generator().manual_seed(0)
    shape = (4, 1, 16, 16)
    inputs = [
        torch.randn(*shape, 2, 64, generator=generator),
        -torch.rand(*shape, 2, generator=generator) - 1e-3,
        torch.randn(*shape, 64, generator=generator) / 8,
        torch.randn(*shape, 64, generator=generator) / 8,
        torch.randn(4, 2, 64, 64, generator=generator),
    ]
    expected = scan_reference(*(v.double() for v in inputs))
    got = chunked_scan(*(v.cuda() for v in inputs), 64)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours.cpu().double(), theirs, rtol=2e-2, atol=2e-2)
