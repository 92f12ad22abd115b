"""What a search optimises: a metric's name and its direction."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from tuneflow.errors import InvalidArgument, InvalidArgumentType

__all__ = ["Objective", "objective_from"]

_MIN = re.compile(
    r"loss|error|entropy|perplexity|divergence|hinge|distance|deviance|(^|_)(ce|mse|mae|rmse|msle|mape|nll|wer|cer|fid)(_|$)"
)
_MAX = re.compile(
    r"accuracy|score|precision|recall|similarity|reward|return"
    r"|(^|_)(acc|auc|roc|prc|f1|iou|io_u|map|bleu|rouge|psnr|ssim|r2|dice|top\d*)(_|$)"
)


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric to optimise.

    Attributes:
        name: the key in ``logs`` and in what ``fit`` returns.
        direction: "min" or "max".

    Example:
        >>> Objective("val_loss", "min").is_better(0.1, 0.2)
        True
    """

    name: str
    direction: Literal["min", "max"]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InvalidArgumentType(f"Objective(name={self.name!r}): name must be the name of a metric")
        if self.direction not in ("min", "max"):
            raise InvalidArgument(
                f"Objective({self.name!r}, direction={self.direction!r}): direction must be 'min' or 'max'"
            )

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether ``value`` beats ``than``. NaN beats nothing; None is beaten by every number."""
        if math.isnan(value):
            return False
        if than is None or math.isnan(than):
            return True
        return value < than if self.direction == "min" else value > than

    def loss(self, value: float) -> float:
        """The value turned so that lower is better; NaN as +inf."""
        if math.isnan(value):
            return math.inf
        return value if self.direction == "min" else -value

    def __str__(self) -> str:
        return f'Objective(name="{self.name}", direction="{self.direction}")'


def objective_from(given: Any) -> Objective:
    """The objective that an argument names.

    Args:
        given: an ``Objective``, or anything with ``name`` and ``direction``; a metric's name that tells the direction
            ("val_loss", "accuracy"); None for the number that ``fit`` returns, to be minimised.

    Raises:
        InvalidArgument: the name does not tell the direction.
        InvalidArgumentType: it is something else.

    Example:
        >>> objective_from("val_accuracy")
        Objective(name='val_accuracy', direction='max')
    """
    if given is None:
        return Objective("default_objective", "min")
    if isinstance(given, Objective):
        return given
    if isinstance(given, (list, tuple)):
        raise InvalidArgumentType(
            f"objective={given!r}: a HyperModel is tuned for one objective; have fit return one number that weighs "
            f"them, or use tune.create_study(directions=[...]) with study.optimize"
        )
    if isinstance(given, str):
        bare = given.lower().removeprefix("val_").removeprefix("weighted_")
        is_min, is_max = bool(_MIN.search(bare)), bool(_MAX.search(bare))
        if is_min != is_max:
            return Objective(given, "min" if is_min else "max")
        raise InvalidArgument(
            f"objective={given!r} does not say whether to minimise or to maximise; pass "
            f'tuneflow.Objective("{given}", "min") or tuneflow.Objective("{given}", "max")'
        )
    name, direction = getattr(given, "name", None), getattr(given, "direction", None)
    if isinstance(name, str) and direction in ("min", "max"):
        return Objective(name, direction)
    raise InvalidArgumentType(
        f'objective={given!r} must be the name of a metric or an Objective, for instance tuneflow.Objective("loss", '
        f'"min")'
    )
