"""What is handed to fla's kernel, with a stand-in that computes what its documentation says."""

from types import SimpleNamespace

import pytest
import torch

from model import delta_kernels
from model.config import LSSVWMConfig
from model.delta_rule import delta_read, delta_reference, delta_states
from model.hybrid_attention import HybridAttention
from model.local_attention import plan_windows


class OnGPU(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    is_cuda = True


def documented_rule(q, k, v, g, beta, scale, initial_state, output_final_state):
    """`chunk_gated_delta_rule` as a loop: tokens `[B T H ...]`, the state `[B H K V]` decays, is corrected, is read."""
    assert q.dtype == k.dtype == v.dtype != torch.float32
    assert g.dtype == initial_state.dtype == torch.float32
    assert q.shape == k.shape
    assert g.shape == beta.shape == k.shape[:3] == v.shape[:3]
    assert initial_state.shape == (k.shape[0], *k.shape[2:], v.shape[-1])
    assert all(x.is_contiguous() for x in (q, k, v, g, beta, initial_state))
    kind = v.dtype
    q, k, v, g, beta, state = (x.float() for x in (q, k, v, g, beta, initial_state))
    outputs = []
    for i in range(k.shape[1]):
        state = g[:, i, :, None, None].exp() * state
        missing = beta[:, i, :, None] * (v[:, i] - torch.einsum("bhkv,bhk->bhv", state, k[:, i]))
        state = state + k[:, i, :, :, None] * missing[:, :, None]
        outputs.append(torch.einsum("bhkv,bhk->bhv", state, q[:, i]) * scale)
    return torch.stack(outputs, 1).to(kind), state if output_final_state else None


def draw(dtype=torch.bfloat16, e=5, frames=4, q=3, state_dtype=torch.float32, kind=OnGPU, streams=2, p=7):
    """Queries, keys, values, log decays, betas and a state."""
    shape = (2, frames, q, 3)
    inputs = (
        torch.randn(2, streams, *shape[1:], e).to(dtype),
        torch.nn.functional.normalize(torch.randn(*shape, e), dim=-1).to(dtype),
        torch.randn(*shape, p).to(dtype),
        -torch.rand(*shape),
        torch.rand(*shape).to(dtype),
        torch.randn(2, 3, p, e).to(state_dtype),
    )
    return [v.as_subclass(kind) for v in inputs]


def reference(queries, *inputs):
    """What is read in the states of the loop, and the last of them."""
    states = delta_reference(*inputs)
    return torch.einsum("bstqhe,bthpe->bstqhp", queries.to(states.dtype), states[:, :-1]), states[:, -1]


def asked_of(inputs):
    return delta_kernels.usable(*inputs[:3], inputs[-1])


@pytest.fixture
def calls(monkeypatch):
    """Pretends that a GPU and the package are there; lists the calls of the kernel."""
    made = []

    def kernel(**inputs):
        made.append(inputs)
        with torch.autocast("cpu", enabled=False):
            return documented_rule(**inputs)

    monkeypatch.setattr(delta_kernels, "_kernels", lambda: SimpleNamespace(chunk_gated_delta_rule=kernel))
    return made


def test_without_the_kernel_the_own_products_serve():
    inputs = draw(kind=torch.Tensor)
    assert not asked_of(inputs)
    assert torch.equal(delta_read(*inputs)[1], delta_states(*inputs[1:])[:, -1])


def test_without_the_kernel_asking_for_it_says_so():
    with pytest.raises(RuntimeError, match="fla's kernel was asked for"):
        delta_kernels.read(*draw())


@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_kernel_reads_and_remembers_what_the_reference_does(calls, dtype, frames, streams):
    """The inputs are rounded before: only what was read is rounded again."""
    inputs = draw(dtype, frames=frames, streams=streams)
    read, final = delta_read(*inputs)
    assert len(calls) == 1
    assert calls[0]["q"].dtype == dtype
    assert read.dtype == final.dtype == torch.float32
    expected, last = reference(*inputs)
    torch.testing.assert_close(read, expected, rtol=torch.finfo(dtype).eps, atol=1e-5)
    torch.testing.assert_close(final, last, rtol=1e-5, atol=1e-5)


def test_float32_inputs_stay_float32_but_under_autocast_are_rounded_to_bfloat16(calls):
    inputs = draw(torch.float32)
    torch.testing.assert_close(delta_read(*inputs)[0], reference(*inputs)[0], rtol=1e-5, atol=1e-5)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        read, final = delta_read(*inputs)
    rounded = [v.bfloat16().float() if i in (0, 1, 2, 4) else v for i, v in enumerate(inputs)]
    expected, last = reference(*rounded)
    assert len(calls) == 1
    torch.testing.assert_close(read, expected, rtol=torch.finfo(torch.bfloat16).eps, atol=1e-5)
    torch.testing.assert_close(final, last, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(read, reference(*inputs)[0], rtol=5e-2, atol=1e-1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_gradients_pass_through_the_kernel_to_every_input(calls, dtype):
    inputs = [v.requires_grad_() for v in draw(dtype)]
    weights = [torch.randn(2, 2, 4, 3, 3, 7), torch.randn(2, 3, 7, 5)]

    def gradients(outputs):
        return torch.autograd.grad(sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)), inputs)

    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
        read = delta_read(*inputs)
    ours = gradients(read)
    assert len(calls) == 1
    for v, w in zip(ours, gradients(reference(*inputs)), strict=True):
        assert (v - w).float().norm() < 0.02 * w.float().norm()


def test_without_remembering_the_last_state_is_not_asked_for(calls):
    inputs = draw()
    read, final = delta_read(*inputs, remember=False)
    assert final is inputs[-1]
    assert [call["output_final_state"] for call in calls] == [False]
    assert torch.equal(read, delta_read(*inputs)[0])
    delta_read(*draw(frames=1), remember=False)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"dtype": torch.float64},
        {"state_dtype": torch.float64},
        {"e": delta_kernels.LARGEST_KEY + 1},
        {"frames": 1, "q": 1, "streams": 1},
        {"frames": 0},
        {"kind": torch.Tensor},
    ],
    ids=str,
)
def test_what_the_kernel_cannot_take_stays_with_the_own_products(calls, other):
    inputs = draw(**other)
    assert torch.equal(delta_read(*inputs)[1], delta_states(*inputs[1:])[:, -1])
    assert not calls


@pytest.mark.parametrize("frames", [1, 5])
def test_hybrid_attention_reaches_the_kernel_and_learns_through_it(calls, monkeypatch, frames):
    config = LSSVWMConfig(
        latent_size=4, width=8, block_sizes=((1, 1),), scan_head_channels=8, attention_heads=2, scan=False,
        attention="hybrid", attention_span=16, attention_window=2, sink_frames=1,
    )  # fmt: skip
    layer, tokens, seen = HybridAttention(config), torch.randn(2, 2, frames, 3, 8), torch.full((2,), 9)
    ring = (torch.randn(2, 3, 3, 2, 4), torch.randn(2, 3, 3, 2, 4), -torch.rand(2, 3, 3, 2, 2))
    plan = plan_windows(seen, 2, frames, 3, 2, 2, 16, 1)
    inputs = (tokens, ring, torch.randn(2, 1, 2, 4, 4), plan, seen)

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            out, _, state = layer(*inputs)
        return out, state, *torch.autograd.grad(out.square().sum() + state.square().sum(), layer.parameters())

    expected = run()
    assert not calls
    usable = delta_kernels.usable
    monkeypatch.setattr(delta_kernels, "usable", lambda *v: usable(*(x.as_subclass(OnGPU) for x in v)))
    got = run()
    assert len(calls) == 1
    for v, w in zip(got, expected, strict=True):
        assert (v - w).float().norm() <= 0.03 * w.float().norm()


@pytest.mark.gpu
def test_the_real_kernel_equals_the_reference():
    pytest.importorskip("fla")
    inputs = draw(e=64, p=32, frames=8, q=16, kind=torch.Tensor)
    names = ("read", "final", "queries", "keys", "values", "log_decay", "beta", "state")

    def run(function, tensors):
        tensors = [v.detach().requires_grad_() for v in tensors]
        read, final = function(*tensors)
        return read, final, *torch.autograd.grad(read.square().mean() + final.square().mean(), tensors)

    on_gpu = [v.cuda() for v in inputs]
    assert asked_of(on_gpu)
    pairs = zip(names, run(delta_read, on_gpu), run(reference, [v.double() for v in inputs]), strict=True)
    for name, ours, theirs in pairs:
        assert (ours.cpu().double() - theirs).norm() < 0.03 * theirs.norm(), name
