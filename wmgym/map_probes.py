"""What a world model remembers of a maze: probes that tell walls and targets from its frozen features.

This is the offline probing benchmark of Memory Maze (P. Pasukonis, T. Lillicrap, D. Hafner, arXiv:2210.13383 sections
3.3 and 5). As published: a probe is an MLP of 4 layers of 1024 units with LayerNorm and ELU, and sees features,
position and direction of the agent; "walls" is whether each cell is free, by cross entropy, scored as accuracy;
"objects" is where every target lies as the agent sees it, by squared error, scored as root mean square distance in
cells; scores are means over steps 500 to 1000, when the maze has been seen.

What we know of it is second-hand. Not known to us: how long probes were trained, on how many trajectories (the data set
has 29,000), with which optimizer, and whether features were normalised. Our choices, for some hundred mazes: AdamW,
inputs of mean 0 and deviation 1, a probe that begins as the constant answer, and the weights that did best on a tenth
of the training mazes, which were left out. Probes train on all steps of the episodes, of which every so many are kept.

Published probes tell where targets lie as the agent sees them. Ours tell it in the maze, as the agent's pose is known:
distances are the same, and fewer mazes are enough to learn from. Only the constant differs, so there are two. That
distances count both coordinates is borne out by the published constant: in our recordings of the same kind of walk (to
random points) it is 4.9 cells too, in one coordinate 3.5.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from wmgym.map_features import ProbeData

Task = Literal["walls", "objects"]
TASKS: tuple[Task, ...] = ("walls", "objects")
LAYERS, UNITS = 4, 1024
BATCH = 256
LEFT_OUT = 10  # one training maze in so many chooses the weights
CHECKS = 20  # how often in a training
CHECK_ROWS = 4096


class Probe(nn.Module):
    """Read an answer from features and pose; begins as the constant answer."""

    mean: Float[Tensor, " inputs"]
    std: Float[Tensor, " inputs"]

    def __init__(self, inputs: Float[Tensor, "rows inputs"], answer: Float[Tensor, " answers"]) -> None:
        """Build the network with fresh weights from torch's default generator.

        Args:
            inputs: Of training, to take mean and deviation from.
            answer: What to answer before any training.
        """
        super().__init__()
        self.register_buffer("mean", inputs.mean(0))
        self.register_buffer("std", inputs.std(0).clamp(min=1e-4))
        sizes = [inputs.shape[1]] + LAYERS * [UNITS]
        hidden = [(nn.Linear(a, b), nn.LayerNorm(b), nn.ELU()) for a, b in itertools.pairwise(sizes)]
        last = nn.Linear(UNITS, len(answer))
        nn.init.zeros_(last.weight)
        last.bias.data.copy_(answer)
        self.layers = nn.Sequential(*[part for layer in hidden for part in layer], last)

    def forward(self, inputs: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows answers"]:
        """Return the answer: log odds that each cell is free, or where the targets are, in cells."""
        answers: Tensor = self.layers((inputs - self.mean) / self.std)
        return answers


@dataclass(frozen=True)
class Scores:
    """How good answers are at each step of each held-out episode."""

    steps: tuple[int, ...]
    """Which step of the episode each column is."""

    correct: Float[Tensor, "b t"]
    """Share of the cells that are told rightly, 0 to 1."""

    squared: Float[Tensor, "b t"]
    """Squared distance in cells between target and answer, mean over targets."""

    def between(self, start: int, stop: int | None = None) -> "Scores":
        """Return the scores of steps from `start` on, and before `stop`.

        Raises:
            ValueError: None of them was kept.
        """
        chosen = [i for i, step in enumerate(self.steps) if start <= step and (stop is None or step < stop)]
        if not chosen:
            until = "the end" if stop is None else f"before {stop}"
            raise ValueError(
                f"steps from {start} to {until} asked for, but of those kept the last is {self.steps[-1]}. Most likely "
                "episodes are too short, or too few of their frames are kept: keep more with a smaller `every`."
            )
        return Scores(tuple(self.steps[i] for i in chosen), self.correct[:, chosen], self.squared[:, chosen])

    def summary(self) -> dict[str, float]:
        """Return accuracy of walls in %, and root mean square error of objects in cells."""
        return {
            "walls_accuracy": 100 * float(self.correct.mean()),
            "objects_rmse": float(self.squared.mean().sqrt()),
        }


def train_probe(
    data: ProbeData,
    task: Task,
    *,
    steps: int,
    seed: int,
    learning_rate: float = 3e-4,
    weight_decay: float = 0.01,
    progress: Callable[[int], object] = lambda steps: None,
) -> Probe:
    """Train a probe on features that stay as they are; keep the weights that do best on mazes left out.

    Args:
        data: Features of at least two mazes; all steps of the episodes are trained on.
        task: "walls" or "objects".
        steps: Optimizer steps, each of 256 frames.
        seed: Fixes weights, batches, and which mazes are left out.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        progress: Is told how many optimizer steps more were made.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.free), generator=generator)
    given, right = data.inputs(), _answers(data, task)
    left_out, kept = order.tensor_split([max(1, len(order) // LEFT_OUT)])
    inputs, answers, left_inputs, left_answers = (v[i].flatten(0, 1) for i in (kept, left_out) for v in (given, right))
    checked = torch.randperm(len(left_inputs), generator=generator)[:CHECK_ROWS]
    left_inputs, left_answers = left_inputs[checked], left_answers[checked]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = Probe(inputs, _constant(answers, task))
    optimizer = torch.optim.AdamW(probe.parameters(), lr=learning_rate, weight_decay=weight_decay)
    least, best = _check(probe, task, left_inputs, left_answers), _copy(probe)
    for step in range(1, steps + 1):
        chosen = torch.randint(len(inputs), (BATCH,), generator=generator)
        optimizer.zero_grad()
        _loss(task, probe(inputs[chosen]), answers[chosen]).backward()
        optimizer.step()
        progress(1)
        if step % max(1, steps // CHECKS) == 0:
            loss = _check(probe, task, left_inputs, left_answers)
            if loss < least:
                least, best = loss, _copy(probe)
    probe.load_state_dict(best)
    return probe.eval().requires_grad_(False)


def score_probes(walls: Probe, objects: Probe, data: ProbeData) -> Scores:
    """Score trained probes.

    Args:
        walls: Probe of that task.
        objects: Probe of that task.
        data: Held-out mazes, observed in the same way as those of training.
    """
    rows, shape = data.inputs().flatten(0, 1), data.features.shape[:2]
    odds, found = (
        torch.cat([probe(part) for part in rows.split(CHECK_ROWS)]).unflatten(0, shape) for probe in (walls, objects)
    )
    return Scores(tuple(data.steps.tolist()), _correct(data, odds), _squared(found, _answers(data, "objects")))


def score_constants(training: ProbeData, data: ProbeData) -> dict[str, Scores]:
    """Score answers that look at no frame, measured on the same mazes.

    "constant", as published: the majority of the training mazes for each cell, and for each target the mean of where
    the agent saw it. "constant_position": for each target its mean position in the maze, which the published probes
    can tell too, since they know the pose. Less than its error takes eyes or memory.

    Args:
        training: Mazes to take majority and means from.
        data: Held-out mazes.
    """
    odds, positions = (_constant(_answers(training, task).flatten(0, 1), task) for task in TASKS)
    steps, correct = tuple(data.steps.tolist()), _correct(data, odds)
    seen = training.vectors().mean((0, 1)).flatten()
    return {
        "constant": Scores(steps, correct, _squared(seen, data.vectors().flatten(2))),
        "constant_position": Scores(steps, correct, _squared(positions, _answers(data, "objects"))),
    }


def _correct(data: ProbeData, odds: Float[Tensor, "*any cells"]) -> Float[Tensor, "b t"]:
    """Return the share of cells told rightly."""
    right = _answers(data, "walls")
    return ((odds > 0).expand_as(right) == (right > 0)).float().mean(-1)


def _squared(given: Float[Tensor, "*any coordinates"], right: Float[Tensor, "b t coordinates"]) -> Float[Tensor, "b t"]:
    """Return the squared distance, mean over targets; each has two coordinates."""
    return 2 * (given - right).square().mean(-1)


def _answers(data: ProbeData, task: Task) -> Float[Tensor, "b t answers"]:
    """Return what is right: 1 for each free cell, or where the targets are; the same at all steps of an episode."""
    right = data.targets.flatten(1) if task == "objects" else data.free.float()
    return right[:, None].expand(-1, len(data.steps), -1)


def _constant(answers: Float[Tensor, "rows answers"], task: Task) -> Float[Tensor, " answers"]:
    """Return what fits all rows best: log odds of each cell, or mean position of each target."""
    mean = answers.mean(0)
    return mean if task == "objects" else torch.logit(mean.clamp(0.01, 0.99))


def _loss(task: Task, given: Float[Tensor, "rows answers"], right: Float[Tensor, "rows answers"]) -> Tensor:
    if task == "objects":
        return nn.functional.mse_loss(given, right)
    return nn.functional.binary_cross_entropy_with_logits(given, right)


@torch.no_grad()
def _check(
    probe: Probe, task: Task, inputs: Float[Tensor, "rows inputs"], answers: Float[Tensor, "rows answers"]
) -> float:
    return float(_loss(task, probe(inputs), answers))


def _copy(probe: Probe) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in probe.state_dict().items()}
