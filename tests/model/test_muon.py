"""Muon on joined projections against torch's own on projections that were never joined."""

from dataclasses import replace

import pytest
import torch

from model.backbones import with_backbone
from model.config import PRESETS
from model.joint_linear import JointLinear
from model.lssvwm import LSSVWM
from model.muon import Muon
from model.training import make_optimizers

SIZES = [6, 8, 2]


def gradients(steps, rows=16):
    torch.manual_seed(1)
    return [torch.randn(rows, 8) * torch.linspace(0.1, 5, rows)[:, None] for _ in range(steps)]


def test_a_joint_projection_is_each_projection_by_itself():
    joint = JointLinear(8, SIZES)
    tokens = torch.randn(3, 8)
    for i, made in enumerate(joint.split(joint(tokens))):
        torch.testing.assert_close(made, tokens @ joint.rows(i).T)


def test_each_projection_is_orthogonalised_as_if_it_stood_alone():
    joint, plain = JointLinear(8, SIZES), torch.nn.Linear(8, 8, bias=False)
    alone = [torch.nn.Parameter(v.detach().clone()) for v in (*joint.weight.split(SIZES), plain.weight)]
    ours = Muon([joint.weight, plain.weight], [joint, plain], lr=0.02, weight_decay=0.1)
    torchs = torch.optim.Muon(alone, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for joint_gradient, gradient in zip(gradients(3), gradients(3, rows=8), strict=True):
        joint.weight.grad, plain.weight.grad = joint_gradient, gradient
        for p, part in zip(alone, (*joint_gradient.split(SIZES), gradient), strict=True):
            p.grad = part.clone()
        ours.step()
        torchs.step()
    torch.testing.assert_close(joint.weight.detach(), torch.cat([p.detach() for p in alone[:-1]]), rtol=0, atol=0)
    torch.testing.assert_close(plain.weight.detach(), alone[-1].detach(), rtol=0, atol=0)


def test_joining_does_change_torchs_update():
    """So that the test above can fail."""
    joint = JointLinear(8, SIZES)
    whole = torch.nn.Parameter(joint.weight.detach().clone())
    ours = Muon([joint.weight], [joint], lr=0.02, weight_decay=0.0)
    torchs = torch.optim.Muon([whole], lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    joint.weight.grad, whole.grad = gradients(1)[0], gradients(1)[0]
    ours.step()
    torchs.step()
    assert (joint.weight - whole).abs().max() > 1e-3


def test_moments_are_kept_under_the_whole_weight():
    joint = JointLinear(8, SIZES)
    optimizer = Muon([joint.weight], [joint], lr=0.02, weight_decay=0.0)
    joint.weight.grad = gradients(1)[0]
    optimizer.step()
    moments = optimizer.state[joint.weight]["momentum_buffer"]
    torch.testing.assert_close(moments, 0.05 * gradients(1)[0])


@pytest.mark.parametrize("name", ["lssvwm", "videossm", "causal"])
def test_a_trainings_joint_weights_are_known_to_its_optimizer(name):
    model = LSSVWM(replace(with_backbone(PRESETS["micro"].dynamics, name), layers=1))
    muon = make_optimizers(model, 1e-3, use_muon=True)[1]
    joint = [m for m in model.modules() if isinstance(m, JointLinear)]
    assert joint
    for module in joint:
        module.weight.grad = torch.randn_like(module.weight) * torch.linspace(1, 9, len(module.weight))[:, None]
    before = [m.weight.detach().clone() for m in joint]
    muon.step()
    for module, old in zip(joint, before, strict=True):
        steps = [part.square().mean().sqrt() for part in (module.weight.detach() - old).split(module.sizes)]
        assert max(steps) < 1.5 * min(steps)  # a joint update would move its parts up to nine times unequally
