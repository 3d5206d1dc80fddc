"""What is handed to fla's kernel, with a stand-in that computes what its documentation says."""

from types import SimpleNamespace

import pytest
import torch

from model import delta_kernels
from model.delta_rule import delta_final, delta_reference, delta_states


class OnGPU(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    is_cuda = True


def documented_rule(q, k, v, g, beta, initial_state, output_final_state):
    """`chunk_gated_delta_rule` as a loop: tokens `[B T H ...]`, the state `[B H K V]` decays, then is corrected."""
    assert q.dtype == k.dtype == v.dtype != torch.float32
    assert q.shape == k.shape
    assert g.shape == beta.shape == k.shape[:3] == v.shape[:3]
    assert initial_state.shape == (k.shape[0], *k.shape[2:], v.shape[-1])
    assert all(x.is_contiguous() for x in (q, k, v, g, beta, initial_state))
    assert output_final_state
    q, k, v, g, beta, state = (x.float() for x in (q, k, v, g, beta, initial_state))
    outputs = []
    for i in range(k.shape[1]):
        state = g[:, i, :, None, None].exp() * state
        missing = beta[:, i, :, None] * (v[:, i] - torch.einsum("bhkv,bhk->bhv", state, k[:, i]))
        state = state + k[:, i, :, :, None] * missing[:, :, None]
        outputs.append(torch.einsum("bhkv,bhk->bhv", state, q[:, i]) * k.shape[-1] ** -0.5)
    return torch.stack(outputs, 1).to(v.dtype), state


def draw(dtype=torch.bfloat16, e=5, frames=4, q=3, state_dtype=torch.float32, kind=OnGPU):
    shape = (2, frames, q, 3)
    inputs = (
        torch.nn.functional.normalize(torch.randn(*shape, e), dim=-1).to(dtype),
        torch.randn(*shape, 7).to(dtype),
        -torch.rand(*shape),
        torch.rand(*shape).to(dtype),
        torch.randn(2, 3, 7, e).to(state_dtype),
    )
    return [v.as_subclass(kind) for v in inputs]


@pytest.fixture
def calls(monkeypatch):
    """Pretends that a GPU and the package are there; lists the calls of the kernel."""
    made = []

    def kernel(**inputs):
        made.append(inputs)
        return documented_rule(**inputs)

    monkeypatch.setattr(delta_kernels, "_kernels", lambda: SimpleNamespace(chunk_gated_delta_rule=kernel))
    return made


def test_without_the_kernel_the_own_products_serve():
    inputs = draw(kind=torch.Tensor)
    assert not delta_kernels.usable(inputs[0], inputs[1], inputs[4])
    assert torch.equal(delta_final(*inputs), delta_states(*inputs)[:, -1])


def test_without_the_kernel_asking_for_it_says_so():
    with pytest.raises(RuntimeError, match="fla's kernel was asked for"):
        delta_kernels.final_state(*draw())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_kernel_remembers_what_the_reference_remembers(calls, dtype):
    inputs = draw(dtype)
    final = delta_final(*inputs)
    assert len(calls) == 1
    assert final.dtype == torch.float32
    torch.testing.assert_close(final, delta_reference(*inputs)[:, -1], rtol=1e-5, atol=1e-5)


def test_gradients_pass_through_the_kernel_to_every_input(calls):
    inputs = [v.requires_grad_() for v in draw()]
    ours = torch.autograd.grad(delta_final(*inputs).square().sum(), inputs)
    assert len(calls) == 1
    theirs = torch.autograd.grad(delta_reference(*inputs)[:, -1].square().sum(), inputs)
    for v, w in zip(ours, theirs, strict=True):
        torch.testing.assert_close(v, w, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "other",
    [
        {"dtype": torch.float32},
        {"state_dtype": torch.float64},
        {"e": delta_kernels.LARGEST_KEY + 1},
        {"frames": 1, "q": 2},
        {"frames": 0},
        {"kind": torch.Tensor},
    ],
    ids=str,
)
def test_what_the_kernel_cannot_take_stays_with_the_own_products(calls, other):
    inputs = draw(**other)
    assert torch.equal(delta_final(*inputs), delta_states(*inputs)[:, -1])
    assert not calls


def test_every_frames_state_is_never_asked_of_the_kernel(calls):
    delta_states(*draw())
    assert not calls


@pytest.mark.gpu
def test_the_real_kernel_equals_the_reference():
    pytest.importorskip("fla")
    generator = torch.Generator().manual_seed(0)
    shape = (2, 8, 16, 4)
    keys = torch.nn.functional.normalize(torch.randn(*shape, 64, generator=generator), dim=-1).bfloat16()
    values = torch.randn(*shape, 32, generator=generator).bfloat16()
    log_decay = -0.1 * torch.rand(*shape, generator=generator)
    beta = torch.rand(*shape, generator=generator).bfloat16()
    inputs = (keys, values, log_decay, beta, torch.randn(2, 4, 32, 64, generator=generator))
    expected = delta_reference(*(v.double() for v in inputs))[:, -1]
    on_gpu = [v.cuda() for v in inputs]
    assert delta_kernels.usable(on_gpu[0], on_gpu[1], on_gpu[4])
    got = delta_final(*on_gpu)
    torch.testing.assert_close(got.cpu().double(), expected, rtol=5e-2, atol=5e-2)
