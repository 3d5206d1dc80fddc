"""A policy by its name: a scripted one, a trained one in its folder, or either mixed with chance.

Names are `random`, `sticky`, `forward` and `still`, which look at nothing and act without bursts; `random-with-bursts`;
`pretrained-clone`, which ships with wmgym; FOLDER of a training and FOLDER/stages/FILE.zip; and NAME@SHARE, any of
these acting at random in a share of all steps.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gymnasium.spaces import Discrete

from agents.behaviour_cloning import sharpen
from agents.blind_policies import BLIND
from agents.exploration import WithBursts, start_for_share
from agents.interfaces import Policy
from agents.pretrained import PRETRAINED, WEIGHTS_FILE, folder_of
from agents.sb3 import SB3Policy, load_learner
from agents.training_folder import POLICY_FILE, policy_file, read_training, settings_of_training

RANDOM_WITH_BURSTS = "random-with-bursts"
STAGES = "stages"
CRITICS = ("mlp_extractor.value_net.", "value_net.", "vf_features_extractor.", "lstm_critic.", "critic.")
"""How the names of weights begin by which no policy of SB3's acts."""
TRAINED_WITH = ("observation", "algorithm", "denoising_steps", "precision")


@dataclass(frozen=True)
class NamedPolicy:
    """A policy that can be made anew for each world.

    Attributes:
        name: To show; by itself the last part of its place.
        given: What it was called by.
        decides: What tells it from all others, whatever it is called and wherever it lies.
        observation: What it sees; None of one that looks at nothing.
        trained_with: Settings of its training; empty for scripted ones.
        act: Makes it, without bursts, from the space of actions and a seed.
        place: Parts of the path that names are taken from.
    """

    name: str
    given: str
    decides: dict[str, Any]
    observation: str | None
    trained_with: dict[str, Any]
    act: Callable[[Discrete, int], Policy]
    place: tuple[str, ...]

    def make(self, space: Discrete, seed: int) -> Policy:
        """Return it as it is judged: with its bursts, in their own order for each seed."""
        return WithBursts(self.act(space, seed), space, start=self.decides["bursts"], seed=seed)


def named_policy(text: str, *, bursts: float, world_model: str, tokenizer: str | None = None) -> NamedPolicy:
    """Return the policy that is called so; load it if it is trained.

    Args:
        text: See the top of this file.
        bursts: Probability that a burst begins at a step, of a trained policy and of `random-with-bursts`; a share in
            the name goes before it.
        world_model: Fingerprint of the one that a trained policy must belong to.
        tokenizer: Fingerprint of its tokenizer; see `agents.training_folder.settings_of_training`.

    Raises:
        FileNotFoundError: There is no such training.
        ValueError: The name means nothing, the training is damaged, or belongs to another world model.
    """
    base, share = split_share(text)
    start = start_for_share(share) if share is not None else 0.0 if base in BLIND else bursts
    if is_scripted(base):
        policy = scripted(base, start)
    else:
        policy = trained(folder_of(base), start, world_model, tokenizer=tokenizer)
    name = policy.name if share is None else f"{policy.name}@{share:g}"
    return replace(policy, name=name, given=text, place=(*policy.place[:-1], name))


def split_share(text: str) -> tuple[str, float | None]:
    """Return a name without the share of random steps behind its last @, and that share; None if it has none.

    Raises:
        ValueError: What stands there is no share.
    """
    base, at, share = text.rpartition("@")
    if not at or "/" in share or Path(text).exists():
        return text, None
    try:
        value = float(share)
        if 0 <= value <= 1:
            return base, value
    except ValueError:
        pass
    raise ValueError(
        f"policy {text!r} given, expected a share of random steps in [0, 1] after the @, as in {base}@0.5."
    )


def weights_that_act(learner: Any) -> str:
    """Return 16 hexadecimal digits that tell the weights by which a policy acts; a critic's are none of them."""
    hashed = hashlib.sha256()
    for key, value in sorted(learner.policy.state_dict().items()):
        if not key.startswith(CRITICS):
            hashed.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            hashed.update(value.cpu().numpy().tobytes())
    return hashed.hexdigest()[:16]


def told_policy(text: str) -> str:
    """Return how a result names a policy: without where its folder lies on this machine."""
    base, at, share = text.rpartition("@")
    if not at or "/" in share or Path(text).exists():
        base, at, share = text, "", ""
    if is_known(base):
        return text
    parts = folder_of(base).resolve().parts
    parts = parts[:-1] if parts[-1] in (POLICY_FILE, WEIGHTS_FILE) else parts
    told = "/".join(parts[-3:] if parts[-2:-1] == (STAGES,) else parts[-1:])
    lies_elsewhere = is_known(told) and PRETRAINED.get(told) != Path(*parts)
    return f"{'./' if lies_elsewhere else ''}{told}{at}{share}"


def asked_policy(told: str) -> str:
    """Return how a command names a policy that a result tells of; folders are taken to lie in `runs`."""
    return told if is_known(told.rpartition("@")[0] or told) else f"runs/{told.removeprefix('./')}"


def is_known(name: str) -> bool:
    """Say whether a name without a share is that of a policy which is no training of the user's own."""
    return is_scripted(name) or name in PRETRAINED


def is_scripted(name: str) -> bool:
    """Say whether a name without a share is that of a policy that looks at nothing."""
    return name in BLIND or name == RANDOM_WITH_BURSTS


def scripted(name: str, start: float) -> NamedPolicy:
    """Return a policy that looks at nothing, with bursts that begin with a probability at each step."""
    kind = "random" if name == RANDOM_WITH_BURSTS else name
    return NamedPolicy(name, name, {"scripted": kind, "bursts": start}, None, {}, BLIND[kind], (name,))


def trained(path: Path, start: float, world_model: str, *, tokenizer: str | None = None) -> NamedPolicy:
    """Return a trained policy; a stage of a clone is sharpened as the clone was in the end.

    Args:
        path: Of the folder of a training, or of a policy in it or in its `stages`.
        start: Probability that a burst begins at a step.
        world_model: Fingerprint of the one that it must belong to.
        tokenizer: See `named_policy`.

    Raises:
        FileNotFoundError: There is nothing of the kind.
        ValueError: It is damaged, or belongs to another world model.
    """
    if not path.exists():
        known = ", ".join((*BLIND, RANDOM_WITH_BURSTS, *PRETRAINED))
        raise FileNotFoundError(
            f"policy '{path}' given, but there is no such folder or file; expected one of {known}, the folder of a "
            f"training, or FOLDER/{STAGES}/FILE.zip. Check the path."
        )
    file = policy_file(path) if path.is_dir() else path
    is_stage = file.parent.name == STAGES
    folder = file.parent.parent if is_stage else file.parent
    settings = settings_of_training(folder, world_model, TRAINED_WITH, tokenizer=tokenizer)
    learner: Any = load_learner(file, settings["algorithm"])
    if is_stage:
        sharpen(learner, read_training(folder)["config"].get("temperature", 1.0))  # stages are saved before that
    decides = {"weights": weights_that_act(learner), "observation": settings["observation"], "bursts": start}
    parts = folder.resolve().parts
    place = (*parts[:-1], f"{parts[-1]}/{file.stem}") if file.name not in (POLICY_FILE, WEIGHTS_FILE) else parts
    return NamedPolicy(
        place[-1], str(path), decides, settings["observation"], settings,
        lambda space, seed: SB3Policy(learner, seed), place,
    )  # fmt: skip
