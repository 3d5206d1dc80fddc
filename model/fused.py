"""Formulas of the fast path that are written otherwise where `torch.compile` makes one pass of them.

Eager, each is the one operation that torch has for it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

LARGEST_SCORE = 60.0
"""Of attention: scores below it are exponentiated as they are, for no sum of them overflows or vanishes in float32."""


def gelu(v: Tensor) -> Tensor:
    """GELU by its tanh formula; compiled as the logistic function that this is, whose one exponential is faster."""
    if not torch.compiler.is_compiling():
        return functional.gelu(v, approximate="tanh")
    return v * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))


def affine(v: Tensor, linear: nn.Linear) -> Tensor:
    """The linear layer; compiled, its bias is added in one pass with what comes after."""
    if not torch.compiler.is_compiling():
        made: Tensor = linear(v)
        return made
    return (functional.linear(v, linear.weight).float() + linear.bias.float()).to(v.dtype)


def largest_score(query_weight: Float[Tensor, " e"], key_weight: Float[Tensor, " e"]) -> float:
    """What attention scores of normalised queries and keys never exceed, either way (Cauchy and Schwarz).

    Args:
        query_weight: that queries are multiplied by once they are normalised.
        key_weight: likewise.
    """
    query, key = (weight.detach().abs().max() for weight in (query_weight, key_weight))
    return math.sqrt(len(query_weight)) * float(query * key)


def averaged(
    scores: Float[Tensor, "b heads q keys"], values: Float[Tensor, "b heads keys e"], bounded: bool
) -> Float[Tensor, "b heads q e"]:
    """Values averaged by the softmax of scores; compiled, and if these are bounded, without looking for the largest.

    Args:
        scores: float32; minus infinity where nothing is to see, but not everywhere.
        values: in any precision.
        bounded: whether the largest score of each query lies within `LARGEST_SCORE`, either way.
    """
    if not (bounded and torch.compiler.is_compiling()):
        return torch.softmax(scores, -1).to(values.dtype) @ values
    weight = scores.exp()
    return (weight.to(values.dtype) @ values) / weight.sum(-1, keepdim=True).to(values.dtype)
