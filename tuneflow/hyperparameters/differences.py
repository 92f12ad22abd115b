"""What differs between two spaces, in words."""

from __future__ import annotations

from collections.abc import Sequence

from tuneflow.hyperparameters.parameters import Parameter

__all__ = ["differences"]


def differences(before: Sequence[Parameter], now: Sequence[Parameter]) -> list[str]:
    """One line for each hyperparameter that came, went or changed; defaults do not count.

    Example:
        >>> from tuneflow.hyperparameters import Int
        >>> before, now = Int(name="n", min_value=1, max_value=3), Int(name="n", min_value=1, max_value=4)
        >>> print(differences([before], [now])[0])
        n was Int(min_value=1, max_value=3, step=1, sampling='linear') and is Int(min_value=1, max_value=4, step=1, ...
    """
    earlier = {(parameter.name, parameter.conditions): parameter for parameter in before}
    today = {(parameter.name, parameter.conditions): parameter for parameter in now}
    lines = []
    for key, parameter in earlier.items():
        if key not in today:
            lines.append(f"{_named(parameter)} is gone, it was {parameter.text()}")
        elif not today[key].has_domain_of(parameter):
            lines.append(f"{_named(parameter)} was {parameter.text()} and is {today[key].text()}")
    lines += [
        f"{_named(parameter)} is new: {parameter.text()}" for key, parameter in today.items() if key not in earlier
    ]
    return lines


def _named(parameter: Parameter) -> str:
    said = " and ".join(f"{condition.name} in {list(condition.values)}" for condition in parameter.conditions)
    return f"{parameter.name} (under {said})" if said else parameter.name
