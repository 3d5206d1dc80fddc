"""States of branches, taken and put back all at once where the environment can, else one after the other."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from agents.interfaces import BranchingVectorEnv, ManyStatesVectorEnv


def take(env: BranchingVectorEnv, places: Sequence[int]) -> list[Any]:
    """Return the states of some places, each of one environment.

    Args:
        env: Whose.
        places: In the order wanted; may be none.
    """
    if not places:
        return []
    if isinstance(env, ManyStatesVectorEnv):
        return list(env.clone_states(list(places)))
    return [env.clone_state([place]) for place in places]


def put(env: BranchingVectorEnv, states: Sequence[Any], places: Sequence[int]) -> None:
    """Put a state into each of some places.

    Args:
        env: Whose places are overwritten.
        states: Of one environment each; the same state next to itself is restored at once wherever it is.
        places: As many, each at most once.

    Raises:
        ValueError: There are not as many.
    """
    if len(states) != len(places):
        raise ValueError(f"{len(states)} states given for {len(places)} places, expected one for each.")
    if not places:
        return
    if isinstance(env, ManyStatesVectorEnv):
        env.restore_states(list(states), list(places))
        return
    for _, group in groupby(range(len(places)), key=lambda i: id(states[i])):
        members = list(group)
        env.restore_state(states[members[0]], [places[i] for i in members])
