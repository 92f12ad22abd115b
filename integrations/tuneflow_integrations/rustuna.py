"""Rustuna's TPE and CMA-ES, written in Rust, as Optuna samplers.

    pip install 'tuneflow[rustuna]'

Rustuna's own adapter converts the whole history at every ask. Here a study of Rustuna's is kept beside Optuna's, and is
given each ended trial once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from rustuna.distributions import Distribution
from rustuna.samplers import CmaEsSampler, SamplerContext, TPESampler
from rustuna.storages import InMemoryStorage
from rustuna.study import StudyDirection
from rustuna.trial import PersistedTrial, TrialState

from tuneflow.errors import InvalidArgument
from tuneflow.samplers.foreign import Distributions, ForeignSampler, Model, refuse
from tuneflow.samplers.ledger import Observation, Running

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from tuneflow.space import Space

__all__ = ["RustunaCmaEsSampler", "RustunaTPESampler", "make_cmaes", "make_sampler"]

_DIRECTIONS = [StudyDirection.MINIMIZE]
_NO_TRIAL = 2**31
"""What stands for the asking trial, which Rustuna's TPE does not look at."""


class RustunaTPESampler(ForeignSampler):
    """Rustuna's multivariate TPE for any Optuna study: Optuna's default sampler at a fraction of its cost.

    Conditional parameters are modelled by the trials that have them. Trials that run at the same time are not known to
    Rustuna.

    Args:
        search_space: parameters known beforehand, as Optuna distributions by name.
        seed: an integer >= 0; None for a random one.
        n_startup_trials: trials that are drawn at random before the model is asked, >= 0.
        multivariate: all parameters jointly, rather than each on its own.

    Raises:
        InvalidArgument: a value breaks its rule; several objectives.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=RustunaTPESampler(seed=0))
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=30)
        >>> study.best_value < 0.01
        True
    """

    takes_partial = True
    models_alone = True

    def __init__(
        self,
        search_space: Distributions | None = None,
        *,
        seed: int | None = None,
        n_startup_trials: int = 10,
        multivariate: bool = True,
    ) -> None:
        if isinstance(n_startup_trials, bool) or not isinstance(n_startup_trials, int) or n_startup_trials < 0:
            raise InvalidArgument(f"n_startup_trials={n_startup_trials!r} must be an integer >= 0")
        self._options: dict[str, Any] = {"n_startup_trials": n_startup_trials, "multivariate": multivariate}
        super().__init__(search_space, seed=seed)
        self.inner = TPESampler(seed=self.seed, **self._options)

    def _start_over(self) -> None:
        super()._start_over()
        self.shadow = _Shadow()

    def reseed_for_trial(self, seed: int) -> None:
        super().reseed_for_trial(seed)
        self.inner = TPESampler(seed=seed, **self._options)

    def check(self, space: Distributions) -> None:
        """Rustuna expresses all of Optuna's distributions."""

    def make_model(self, space: Distributions) -> Model:
        return _Tpe(space, self)

    def __getstate__(self) -> dict[str, Any]:
        """Rustuna's objects cannot be pickled: the history is told anew, to a sampler with a seed drawn here."""
        state = super().__getstate__()
        del state["inner"], state["shadow"]
        return {**state, "_models": {}, "seed": int(self.rng.integers(2**32))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.shadow = _Shadow()
        self.inner = TPESampler(seed=self.seed, **self._options)


class RustunaCmaEsSampler(ForeignSampler):
    """Rustuna's CMA-ES for any Optuna study over numbers.

    Its state lives in memory and is made of the trials that it proposed itself: what others tried, and what was known
    before it was made, it cannot learn from. Categorical parameters, and everything while fewer than two numbers are
    known to be in all trials, are drawn at random.

    Args:
        search_space: parameters known beforehand, as Optuna distributions by name.
        seed: an integer >= 0; None for a random one.
        popsize: trials in a generation, >= 2; None for the library's own choice.

    Raises:
        InvalidArgument: a value breaks its rule; several objectives.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=RustunaCmaEsSampler(seed=0))
        >>> study.optimize(lambda t: t.suggest_float("x", -1, 1) ** 2 + t.suggest_float("y", -1, 1) ** 2, n_trials=60)
        >>> study.best_value < 0.01
        True
    """

    def __init__(
        self, search_space: Distributions | None = None, *, seed: int | None = None, popsize: int | None = None
    ) -> None:
        if popsize is not None and (isinstance(popsize, bool) or not isinstance(popsize, int) or popsize < 2):
            raise InvalidArgument(f"popsize={popsize!r} must be an integer >= 2, or None for the library's own choice")
        self._popsize = popsize
        super().__init__(search_space, seed=seed)

    def check(self, space: Distributions) -> None:
        """What CMA-ES cannot express never reaches it."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        space = super().infer_relative_search_space(study, trial)
        numeric = {name: d for name, d in space.items() if not isinstance(d, CategoricalDistribution)}
        return numeric if len(numeric) > 1 else {}

    def make_model(self, space: Distributions) -> Model:
        return _Cma(space, CmaEsSampler(seed=self.seed & 0xFFFFFFFF, popsize=self._popsize))

    def __getstate__(self) -> dict[str, Any]:
        """Rustuna's objects cannot be pickled: the evolution starts over."""
        return {**super().__getstate__(), "_models": {}, "seed": int(self.rng.integers(2**32))}


def make_sampler(*, space: Space | None = None, seed: int | None = None, **options: Any) -> RustunaTPESampler:
    """What ``sampler="rustuna"`` makes."""
    return RustunaTPESampler(None if space is None else space.distributions, seed=seed, **options)


def make_cmaes(*, space: Space | None = None, seed: int | None = None, **options: Any) -> RustunaCmaEsSampler:
    """What ``sampler="rustuna-cmaes"`` makes."""
    return RustunaCmaEsSampler(None if space is None else space.distributions, seed=seed, **options)


class _Shadow:
    """A study of Rustuna's with what was observed. Choices go by their index, which all values have."""

    def __init__(self) -> None:
        self.storage = InMemoryStorage(apply_discard=True)
        self.study_id = self.storage.create_new_study("shadow", _DIRECTIONS).id
        self._known: dict[int, tuple[float, int]] = {}
        self._converted: dict[BaseDistribution, Distribution] = {}

    def observe(self, seen: Observation) -> None:
        """Adds a trial; one that has gone on since replaces what stood for it."""
        loss, trial_id = self._known.get(seen.number, (None, -1))
        if loss == seen.loss:
            return
        if loss is not None:
            self.storage.discard_trials([trial_id])
        distributions = seen.trial.distributions
        template = PersistedTrial(
            trial_id=0,
            study_id=self.study_id,
            number=0,
            state=TrialState.COMPLETE,
            values=[seen.loss],
            params={name: _plain(distributions[name], param) for name, param in seen.params.items()},
            distributions={name: self.converted(distribution) for name, distribution in distributions.items()},
        )
        added = self.storage.create_new_trial(self.study_id, template)
        self._known[seen.number] = seen.loss, added._trial_id

    def converted(self, distribution: BaseDistribution) -> Distribution:
        """Rustuna's distribution."""
        if distribution not in self._converted:
            self._converted[distribution] = _converted(distribution)
        return self._converted[distribution]

    def context(self, number: int, trial_id: int) -> SamplerContext:
        """What a sampler of Rustuna's is asked with."""
        return SamplerContext(study_id=self.study_id, trial_number=number, trial_id=trial_id, directions=_DIRECTIONS)


class _Tpe(Model):
    """One space over the shadow study that all spaces share."""

    def __init__(self, space: Distributions, sampler: RustunaTPESampler) -> None:
        self._space = space
        self._sampler = sampler
        self._converted = {name: _converted(distribution) for name, distribution in space.items()}

    def observe(self, seen: Observation) -> None:
        self._sampler.shadow.observe(seen)

    def suggest(self, number: int, running: Sequence[Running]) -> dict[str, Any]:
        inner, shadow = self._sampler.inner, self._sampler.shadow
        context = shadow.context(number, _NO_TRIAL)
        # Nothing is sampled jointly before the model is asked, and where it is not multivariate.
        found = inner.sample_joint(context, shadow.storage, self._converted) if inner.support_joint_sampling else {}
        for name, distribution in self._converted.items():
            if name not in found:
                found[name] = inner.sample_independent(context, shadow.storage, name, distribution)
        return {name: distribution.to_external_repr(found[name]) for name, distribution in self._space.items()}


class _Cma(Model):
    """An evolution over one space, in a study of its own: it looks at the trials that it proposed."""

    def __init__(self, space: Distributions, inner: CmaEsSampler) -> None:
        self._space = space
        self._inner = inner
        self._shadow = _Shadow()
        self._ids: dict[int, int] = {}

    def observe(self, seen: Observation) -> None:
        trial_id = self._ids.pop(seen.number, None)
        if trial_id is None:
            return
        storage = self._shadow.storage
        for name, distribution in self._space.items():
            value = distribution.to_internal_repr(seen.params[name])
            storage.set_trial_param(trial_id, name, self._shadow.converted(distribution), value)
        context = self._shadow.context(seen.number, trial_id)
        self._inner.after_trial(context, storage, TrialState.COMPLETE, [seen.loss])
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [seen.loss])

    def suggest(self, number: int, running: Sequence[Running]) -> dict[str, Any]:
        shadow = self._shadow
        trial = shadow.storage.create_new_trial(shadow.study_id)
        self._ids[number] = trial._trial_id
        space = {name: shadow.converted(distribution) for name, distribution in self._space.items()}
        found = self._inner.sample_joint(shadow.context(trial.number, trial._trial_id), shadow.storage, space)
        return {name: distribution.to_external_repr(found[name]) for name, distribution in self._space.items()}


def _converted(distribution: BaseDistribution) -> Distribution:
    if isinstance(distribution, FloatDistribution):
        return Distribution.float(distribution.low, distribution.high, distribution.log, distribution.step)
    if isinstance(distribution, IntDistribution):
        return Distribution.int(distribution.low, distribution.high, distribution.log, distribution.step)
    if isinstance(distribution, CategoricalDistribution):
        return Distribution.categorical(list(range(len(distribution.choices))))
    raise refuse("Rustuna", "?", distribution, "use one of Optuna's own distributions")


def _plain(distribution: BaseDistribution, param: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.to_internal_repr(param))
    return param
