"""The policies of a report: each once, with blends of graded skill, and with names that tell them apart."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from agents.blind_policies import OF_MAZES
from agents.named_policies import NamedPolicy, is_scripted, named_policy, split_share

NOT_ELSEWHERE = "elsewhere its action means something else. Fix: leave it away."
"""Why policies of the maze's actions are refused in other worlds."""


def gather_policies(
    texts: Sequence[str],
    blend: Sequence[float] = (),
    *,
    bursts: float,
    world_model: str,
    tokenizer: str | None = None,
    say: Callable[[str], object] = print,
) -> list[NamedPolicy]:
    """Return the policies of a report, in their order, blends last.

    Args:
        texts: What `named_policy` calls them by.
        blend: Shares of random steps: the last trained policy is added with each.
        bursts: See `named_policy`.
        world_model: Likewise.
        tokenizer: Likewise.
        say: Gets a line for each policy that is left out, because it does the same as an earlier one.

    Raises:
        FileNotFoundError: A policy is not there.
        ValueError: One cannot be run, or there is none to blend.
    """
    called = [*texts, *blends_of(texts, blend)]
    found = [named_policy(text, bursts=bursts, world_model=world_model, tokenizer=tokenizer) for text in called]
    return with_short_names(without_twins(found, say))


def policies_beside(
    texts: Sequence[str], names: Sequence[str], *, bursts: float, say: Callable[[str], object] = print, **models: Any
) -> list[NamedPolicy]:
    """Return the policies that shall be measured beside others, which random ones are among.

    Args:
        texts: What `named_policy` calls them by.
        names: Of those others.
        bursts: See `named_policy`.
        say: Gets a line for each that is left out, because it is measured anyway.
        **models: What else `gather_policies` takes, which says what it refuses, too.

    Raises:
        FileNotFoundError: One is not there.
        ValueError: One cannot be run, or is called as one of the others.
    """
    try:
        found = gather_policies(texts, bursts=bursts, say=say, **models)
    except (FileNotFoundError, ValueError) as error:
        told = f"--beside {' '.join(texts)} given: {error} Or measure none: --beside with nothing after it."
        raise type(error)(told) from error
    if taken := [policy.name for policy in found if policy.name in names]:
        raise ValueError(f"--beside {taken[0]} given, a name that another policy has here. Fix: rename its folder.")
    measured = [{"scripted": "random", "bursts": start} for start in (0.0, bursts)]
    known = [policy for policy in found if policy.decides in measured]
    for policy in known:
        say(f"left out {policy.given}: it is measured anyway")
    return [policy for policy in found if policy not in known]


def of_mazes(texts: Sequence[str]) -> list[str]:
    """Return those of some names whose policies take the maze's actions, which mean something else elsewhere."""
    return [text for text in texts if split_share(text)[0] in OF_MAZES]


def blends_of(texts: Sequence[str], shares: Sequence[float]) -> list[str]:
    """Return the names of the last trained policy, mixed with chance.

    Raises:
        ValueError: There is none.
    """
    bases = [base for base, _ in map(split_share, texts) if not is_scripted(base)]
    if shares and not bases:
        raise ValueError(
            f"shares {', '.join(map(str, shares))} to blend with given, expected a trained policy among "
            f"{', '.join(texts)}. To mix scripted ones with chance, name them so: sticky@0.5."
        )
    return [f"{bases[-1]}@{share:g}" for share in shares]


def without_twins(policies: Sequence[NamedPolicy], say: Callable[[str], object] = print) -> list[NamedPolicy]:
    """Return policies without those that do the same as an earlier one, which would count twice; say which.

    Args:
        policies: Of which the last stage of a training may be one, beside the training.
        say: Gets a line for each that is left out.
    """
    kept: list[NamedPolicy] = []
    for policy in policies:
        twin = next((other for other in kept if other.decides == policy.decides), None)
        if twin is None:
            kept.append(policy)
        else:
            say(f"left out {policy.given}: it is the same policy as {twin.given}")
    return kept


def with_short_names(policies: Sequence[NamedPolicy]) -> list[NamedPolicy]:
    """Return policies named by the last part of their path, and by as many more as it takes to tell them apart."""
    names = [policy.place[-1] for policy in policies]
    for parts in count(2):
        common = {name for name, times in Counter(names).items() if times > 1}
        longer = ["/".join(policy.place[-parts:]) for policy in policies]
        if not common or longer == names:
            break
        names = [more if name in common else name for name, more in zip(names, longer, strict=True)]
    return [replace(policy, name=name) for policy, name in zip(policies, names, strict=True)]
