"""What users hand over, as numpy arrays and whole numbers; what is neither is refused, never guessed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(values: Any, name: str, error: type[Exception] = ValueError) -> NDArray[Any]:
    """Return values as a numpy array of whatever type and shape they have.

    Args:
        values: Anything.
        name: What the message calls them.
        error: What to raise.

    Raises:
        error: numpy cannot make an array of them.
    """
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as cause:
        raise error(
            f"{name} is a {type(values).__name__} of which numpy makes no array ({cause}), expected rows of equal "
            "length. Most likely the rows differ, so make them equal; or it is a tensor with gradients or on a GPU, "
            "so pass tensor.detach().cpu()."
        ) from cause


def as_integer(value: Any) -> int | None:
    """Return a whole number as int: an int, one of numpy's, or an array or tensor of integers with no axes.

    Args:
        value: Anything.

    Returns:
        None if it is anything else. Booleans, and floats such as 2.0, are no whole numbers.
    """
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    try:
        given = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):
        return None
    return int(given) if given.ndim == 0 and given.dtype.kind in "iu" else None


def read_integer(value: Any, name: str, least: int) -> int:
    """Return a whole number that an argument must be.

    Args:
        value: Anything.
        name: Of the argument.
        least: The smallest that is allowed.

    Raises:
        ValueError: It is no whole number, or too small.
    """
    number = as_integer(value)
    if number is None or number < least:
        raise ValueError(f"{name} = {value!r} given, expected a whole number of at least {least}. Fix: pass an int.")
    return number
