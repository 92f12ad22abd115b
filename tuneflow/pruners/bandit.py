"""The bandit of PB2: which point improves fastest now, by a Gaussian process over time and hyperparameters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["suggest"]

_FEWEST = 4
"""Observations below which a fit says nothing."""
_N_CANDIDATES = 1000
_N_REFINED = 200


@cache
def _kernel_class() -> Any:
    """The kernel of PB2 (section 4): squared-exponential in the hyperparameters, forgetting in time.

    k((t, x), (t', x')) = (1 - eps)^(|t - t'| / 2) exp(-|x - x'|^2 / (2 l^2)); ``decay`` is -log(1 - eps) / 2. A class
    made in a function, since its base comes from an optional library.
    """
    import numpy as np
    from sklearn.gaussian_process.kernels import Hyperparameter, Kernel, NormalizedKernelMixin, StationaryKernelMixin

    class TimeVarying(StationaryKernelMixin, NormalizedKernelMixin, Kernel):  # type: ignore[misc]
        """Column 0 is the time in intervals, the others are hyperparameters in [0, 1]."""

        def __init__(
            self,
            decay: float = 0.1,
            length_scale: float = 0.3,
            decay_bounds: tuple[float, float] = (1e-3, 1.0),
            length_scale_bounds: tuple[float, float] = (0.05, 3.0),
        ) -> None:
            self.decay, self.length_scale = decay, length_scale
            self.decay_bounds, self.length_scale_bounds = decay_bounds, length_scale_bounds

        @property
        def hyperparameter_decay(self) -> Any:
            return Hyperparameter("decay", "numeric", self.decay_bounds)

        @property
        def hyperparameter_length_scale(self) -> Any:
            return Hyperparameter("length_scale", "numeric", self.length_scale_bounds)

        def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:  # noqa: N803
            other = X if Y is None else Y
            apart = np.abs(X[:, :1] - other[:, 0])
            squared = ((X[:, None, 1:] - other[None, :, 1:]) ** 2).sum(axis=2) / self.length_scale**2
            values = np.exp(-self.decay * apart - 0.5 * squared)
            if not eval_gradient:
                return values
            # By the logarithms of decay and length scale, in the order of the names.
            return values, np.stack([-values * self.decay * apart, values * squared], axis=2)

    return TimeVarying


def suggest(
    observed: np.ndarray[Any, Any],
    improvements: np.ndarray[Any, Any],
    pending: np.ndarray[Any, Any],
    now: float,
    n_dimensions: int,
    rng: np.random.Generator,
) -> np.ndarray[Any, Any]:
    """The point of the unit cube with the highest upper confidence bound; a random one where there is too little data.

    Points that others train with already lower the variance around themselves as if they had been observed, so that
    members that change at the same time do not all go to one place (GP-BUCB, Desautels et al. 2014).

    Args:
        observed: shape (n, 1 + d): time in intervals, then hyperparameters in [0, 1].
        improvements: shape (n,), higher is better, finite.
        pending: shape (m, 1 + d): points without a result yet.
        now: the time for which a point is wanted.
        n_dimensions: d.
        rng: the only source of randomness.

    Returns:
        Shape (d,), each in [0, 1].
    """
    import numpy as np

    candidates = rng.random((_N_CANDIDATES, n_dimensions))
    spread = float(np.std(improvements)) if len(improvements) >= _FEWEST else 0.0
    if not spread > 0 or not math.isfinite(spread):
        first: np.ndarray[Any, Any] = candidates[0]
        return first
    bound = _upper_bound(observed, (improvements - np.mean(improvements)) / spread, pending, now)
    best = candidates[int(np.argmax(bound(candidates)))]
    refined = np.clip(best + rng.normal(0.0, 0.05, (_N_REFINED, n_dimensions)), 0.0, 1.0)
    refined[0] = best
    chosen: np.ndarray[Any, Any] = refined[int(np.argmax(bound(refined)))]
    return chosen


def _upper_bound(
    observed: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], pending: np.ndarray[Any, Any], now: float
) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel

    kernel = ConstantKernel(1.0, (0.05, 20.0)) * _kernel_class()() + WhiteKernel(0.1, (1e-3, 1.0))
    with warnings.catch_warnings():
        # A hyperparameter at its bound is no fault here: the bounds are the prior.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessRegressor(kernel).fit(observed, targets)
    certain = model
    if len(pending):
        # What is imagined at the pending points changes the variance only, and the variance knows no targets.
        certain = GaussianProcessRegressor(model.kernel_, optimizer=None).fit(
            np.vstack([observed, pending]), np.concatenate([targets, np.zeros(len(pending))])
        )
    # The schedule of the paper's own code: sqrt(0.2 + log(0.4 n)).
    width = math.sqrt(0.2 + max(0.0, math.log(0.4 * len(observed))))

    def bound(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        at = np.hstack([np.full((len(points), 1), now), points])
        return np.asarray(model.predict(at) + width * certain.predict(at, return_std=True)[1])

    return bound
