"""Actions of a world's own space, on their way to a model that counts them from 0, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from numpy.typing import NDArray

from wmgym.action_spaces import flattened, from_model, to_model
from wmgym.arrays import as_array
from wmgym.errors import ContextError, InvalidActionError


def counted_from_zero(space: Space[Any], actions: Any, leading: tuple[int, ...] | None = None) -> Any:
    """Return actions as the model takes them; those of a `Discrete` from 0 and a flat `Box` are passed on.

    Those of another `Box` are flattened, if they have its shape; their numbers are for the reader to check.

    Args:
        space: Of one action.
        actions: One or many, the axes of the space last.
        leading: The axes before those, `(n,)` for one action an environment; None for any.

    Raises:
        InvalidActionError: One is not in the space, or there are more or fewer.
    """
    if counts_from_zero(space):
        return actions
    given = as_array(actions, "actions", InvalidActionError)
    if isinstance(space, Box):
        return _flat_if_shaped(space, given, len(leading or ()))
    axes = len(space.shape or ())
    first, count = space.start, space.n if isinstance(space, Discrete) else space.nvec  # type: ignore[attr-defined]
    before = given.shape[: given.ndim - axes]
    fits = given.dtype.kind in "iu" and given.shape == (*before, *(space.shape or ())) and leading in (None, before)
    if not fits or not np.all((given >= first) & (given < first + count)):
        raise InvalidActionError(
            f"Actions {actions!r} are {given.dtype} of shape {given.shape}, expected elements of {space}"
            f"{'' if leading is None else f', {leading[0]} of them' if leading else ', one of them'}. Most likely the "
            "policy was made for another action space, or counts actions as the model does: pass the environment's own."
        )
    return to_model(space, given)


def counts_from_zero(space: Space[Any]) -> bool:
    """Say whether a model takes the actions of a space as they are."""
    if isinstance(space, Box):
        return len(space.shape) == 1
    return not isinstance(space, MultiDiscrete) and not (isinstance(space, Discrete) and space.start != 0)


def for_environment(space: Space[Any], action: Any) -> Any:
    """Return one action of a model, such as a recorded one, as an environment with the space takes it."""
    taken = from_model(space, np.asarray(action))
    return int(taken) if isinstance(space, Discrete) else taken


def count_context(space: Space[Any], options: Mapping[str, Any] | None) -> Any:
    """Return options of `reset` with the actions of their contexts as the model counts them.

    Args:
        space: Of one action.
        options: As passed to `reset`; what is no context stays, to be refused by who reads it.

    Raises:
        ContextError: numpy makes no array of the actions.
        InvalidActionError: An action, but that of the first frame, is not in the space.
    """
    if not isinstance(options, Mapping) or "context" not in options:
        return options
    given = options["context"]
    if isinstance(given, list | tuple):
        return {**options, "context": [_count_one(space, one) for one in given]}
    return {**options, "context": _count_one(space, given)}


def _count_one(space: Space[Any], context: Any) -> Any:
    """Return one context; that its first action means nothing is kept."""
    if not isinstance(context, Mapping) or "actions" not in context or counts_from_zero(space):
        return context
    actions = as_array(context["actions"], "options['context']['actions']", ContextError)
    if isinstance(space, Box):
        return {**context, "actions": _flat_if_shaped(space, actions, 1)}
    actions = actions.copy()
    if len(actions):
        actions[0] = space.start  # type: ignore[attr-defined]
    return {**context, "actions": counted_from_zero(space, actions)}


def _flat_if_shaped(space: Box, given: NDArray[Any], leading: int) -> NDArray[Any]:
    """Return actions of a `Box` flattened, in the type they have, and any others as they are.

    Args:
        space: Of one action.
        given: Whatever it is.
        leading: How many axes there are before those of the space: flat actions may look like a single one without.
    """
    fits = given.ndim == leading + len(space.shape) and given.shape[leading:] == space.shape
    return flattened(space, given) if fits else given
