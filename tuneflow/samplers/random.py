"""Random search at a fraction of the cost: the same draws as Optuna's, without its array transformation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    _get_single_value,
)
from optuna.distributions import (
    _convert_old_distribution_to_new_distribution as convert,
)
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["RandomSampler"]

_KINDS = (FloatDistribution, IntDistribution, CategoricalDistribution)


class RandomSampler(optuna.samplers.RandomSampler):
    """Draws each parameter on its own, value by value what ``optuna.samplers.RandomSampler`` draws from the same seed.

    Example:
        >>> import optuna
        >>> space = {"lr": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)}
        >>> ours = optuna.create_study(sampler=RandomSampler(seed=1)).ask(space)
        >>> theirs = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask(space)
        >>> ours.params == theirs.params
        True
    """

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sample(param_distribution)

    def draw(self, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
        """All parameters of a trial at once, as a running trial to be stored.

        They are what ``optuna.Study.ask`` would suggest one after the other.
        """
        converted = {
            name: distribution if type(distribution) in _KINDS else convert(distribution)
            for name, distribution in distributions.items()
        }
        return FrozenTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),  # noqa: TID251 - as Optuna's storages do for a new trial
            datetime_complete=None,
            params={
                name: _get_single_value(distribution) if distribution.single() else self._sample(distribution)
                for name, distribution in converted.items()
            },
            distributions=converted,
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )

    def _sample(self, distribution: BaseDistribution) -> Any:
        rng = self._rng.rng
        if (
            isinstance(distribution, FloatDistribution)
            and distribution.step is None
            and distribution.low < distribution.high
        ):
            low, high = distribution.low, distribution.high
            below = math.nextafter(high, high - 1)
            if distribution.log:
                return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), below)
            return min(rng.uniform(low, high), below)
        if isinstance(distribution, IntDistribution) and not distribution.log:
            low, high, step = distribution.low, distribution.high, distribution.step
            index = math.floor((rng.uniform(low - 0.5 * step, high + 0.5 * step) - low) / step + 0.5)
            return min(max(index * step + low, low), high)
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(rng.uniform(size=len(distribution.choices)).argmax())]
        # The rarer kinds: Optuna's own way.
        transform = _SearchSpaceTransform({"x": distribution})
        return transform.untransform(rng.uniform(transform.bounds[:, 0], transform.bounds[:, 1]))["x"]
