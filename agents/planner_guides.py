"""What a planner goes by: settings, a critic of what comes after plans, and a policy that says what to try first."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.branches import Critic
from agents.critic_folder import load_critic
from agents.planner_settings import PlannerSettings
from agents.policy_prior import prior_of
from agents.pretrained import folder_of
from agents.sb3 import load_learner
from agents.training_folder import policy_file, settings_of_training
from agents.tree_search import Prior

PRIOR_ALONE = "prior alone"
"""What the policy that leads a planner is called where it acts without one."""


@dataclass(frozen=True)
class Guides:
    """What a planner goes by.

    Attributes:
        settings: How it plans.
        critic: What comes after a plan is worth.
        prior: What a policy would do.
        learner: That policy.
        observation: What critic and policy see, which the dreams that are planned in show.
    """

    settings: PlannerSettings
    critic: Critic | None = None
    prior: Prior | None = None
    learner: BaseAlgorithm | None = None
    observation: str = "features"


def load_guides(
    settings: Mapping[str, Any], *, critic: Path | None, prior: Path | None, world_model: str, tokenizer: str
) -> Guides:
    """Read critic and policy from their folders.

    Args:
        settings: Of `PlannerSettings`; where `discount` is None, it is the critic's, or the usual one without.
        critic: Folder of one, see `agents.critic_folder`.
        prior: Folder of a training or cloning, or the name of a policy that ships with wmgym.
        world_model: Fingerprint of the one that is planned in, which both must fit.
        tokenizer: Fingerprint of its tokenizer; see `agents.training_folder.settings_of_training`.

    Raises:
        FileNotFoundError: There is no critic or policy.
        ValueError: Settings do not fit together, or a critic or policy is damaged or of another world model.
    """
    discount, shown = settings["discount"], {}
    values = policy = learner = None
    if critic is not None:
        network, known = load_critic(critic, world_model)
        values, shown["--critic"], own = network.values, known["observation"], float(known["discount"])
        if discount not in (None, own):
            raise ValueError(
                f"--discount {discount} given with a critic of discount {own}, expected the same: its values count "
                "rewards so. Fix: leave --discount away, or train a critic with it."
            )
        discount = own
    if prior is not None:
        prior = folder_of(prior)
        kept = settings_of_training(prior, world_model, ("observation", "algorithm"), tokenizer=tokenizer)
        learner = load_learner(policy_file(prior), kept["algorithm"])
        policy, shown["--prior"] = prior_of(learner), kept["observation"]
    if len(set(shown.values())) > 1:
        raise ValueError(f"--critic sees {shown['--critic']}, --prior {shown['--prior']}, expected the same of both.")
    chosen = PlannerSettings(**{**settings, "discount": PlannerSettings.discount if discount is None else discount})
    return Guides(chosen, values, policy, learner, next(iter(shown.values()), "features"))
