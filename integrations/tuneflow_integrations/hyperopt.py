"""Tree-structured Parzen estimators by HyperOpt, as an Optuna sampler.

    pip install 'tuneflow[hyperopt]'

Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", as HyperOpt implements it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hyperopt import Trials, hp, tpe
from hyperopt.base import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_NEW, STATUS_OK, Domain

from tuneflow.errors import InvalidArgument
from tuneflow.samplers.axes import axis_of, is_within
from tuneflow.samplers.foreign import Distributions, ForeignSampler, Model
from tuneflow.samplers.ledger import Observation, Running

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from tuneflow.space import Space

__all__ = ["HyperOptSampler", "make_sampler"]


class HyperOptSampler(ForeignSampler):
    """HyperOpt's TPE for any Optuna study.

    With ``search_space`` given, trial after trial is what ``hyperopt.fmin(..., algo=tpe.suggest,
    rstate=numpy.random.default_rng(seed))`` would try. Trials that run at the same time count among the bad ones, as in
    HyperOpt's own parallel runs. HyperOpt models each parameter on its own, so a conditional one is modelled by the
    trials that have it. Values of steps and integers are drawn with equal probability, the ends included.

    Args:
        search_space: parameters known beforehand, as Optuna distributions by name.
        seed: an integer >= 0; None for a random one.
        n_initial_points: trials known before the model is asked, >= 1; until then the draws are random.
        gamma: the best ``gamma * sqrt(n)`` of n trials count as good; in (0, 1).
        n_candidates: draws of the good trials' density among which the best is taken, >= 1.
        prior_weight: weight of the prior against that of a trial, > 0.

    Raises:
        InvalidArgument: a value breaks its rule; the study has several objectives.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=HyperOptSampler(seed=0))
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
        n_initial_points: int = 20,
        gamma: float = 0.25,
        n_candidates: int = 24,
        prior_weight: float = 1.0,
    ) -> None:
        for name, count in (("n_initial_points", n_initial_points), ("n_candidates", n_candidates)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InvalidArgument(f"{name}={count!r} must be an integer >= 1")
        if not 0 < gamma < 1:
            raise InvalidArgument(f"gamma={gamma!r} must be in (0, 1)")
        if not prior_weight > 0:
            raise InvalidArgument(f"prior_weight={prior_weight!r} must be > 0")
        super().__init__(search_space, seed=seed)
        self.options = {
            "n_startup_jobs": n_initial_points,
            "gamma": gamma,
            "n_EI_candidates": n_candidates,
            "prior_weight": prior_weight,
            "verbose": False,
        }

    def check(self, space: Distributions) -> None:
        """HyperOpt expresses all of Optuna's distributions."""

    def make_model(self, space: Distributions) -> Model:
        return _Tpe(space, self)


def make_sampler(*, space: Space | None = None, seed: int | None = None, **options: Any) -> HyperOptSampler:
    """What ``sampler="hyperopt"`` and ``tuneflow.search.HyperOptSearch`` make."""
    return HyperOptSampler(None if space is None else space.distributions, seed=seed, **options)


class _Known(Trials):  # type: ignore[misc]
    """HyperOpt's trials: documents by number, and the running ones behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[int, dict[str, Any]] = {}
        self.unknown: list[dict[str, Any]] = []

    @property
    def trials(self) -> list[dict[str, Any]]:
        return [*self.ended.values(), *self.unknown]

    def __len__(self) -> int:
        return len(self.ended) + len(self.unknown)


class _Tpe(Model):
    def __init__(self, space: Distributions, sampler: HyperOptSampler) -> None:
        self._sampler = sampler
        self._entries = {name: _Entry(name, distribution) for name, distribution in space.items()}
        self._domain = Domain(None, {name: entry.node for name, entry in self._entries.items()})
        self._known = _Known()

    def observe(self, seen: Observation) -> None:
        document = self._document(seen.number, seen.params, loss=seen.loss)
        self._known.ended[seen.number] = document

    def suggest(self, number: int, running: Sequence[Running]) -> dict[str, Any]:
        known = self._known
        known.unknown = [self._document(trial.number, trial.params, loss=None) for trial in running]
        seed = int(self._sampler.rng.integers(2**31 - 1))
        (document,) = tpe.suggest([number], self._domain, known, seed, **self._sampler.options)
        values = document["misc"]["vals"]
        return {name: entry.param_of(values[name][0]) for name, entry in self._entries.items()}

    def _document(self, number: int, params: Any, *, loss: float | None) -> dict[str, Any]:
        values: dict[str, list[Any]] = {}
        for name, entry in self._entries.items():
            has_it = name in params and is_within(params[name], entry.distribution)
            values[name] = [entry.value_of(params[name])] if has_it else []
        misc = {"tid": number, "idxs": {name: [number] * len(held) for name, held in values.items()}, "vals": values}
        result = {"status": STATUS_NEW} if loss is None else {"status": STATUS_OK, "loss": loss}
        return {
            "state": JOB_STATE_RUNNING if loss is None else JOB_STATE_DONE, "tid": number, "spec": None,
            "result": result, "misc": misc, "exp_key": None,
        }  # fmt: skip


class _Entry:
    """A parameter in HyperOpt's terms: a node of its expression graph, and values there and back."""

    def __init__(self, name: str, distribution: BaseDistribution) -> None:
        self.distribution = distribution
        self.axis = axis = axis_of(distribution)
        if axis is None:
            self.node = hp.randint(name, len(distribution.choices))  # type: ignore[attr-defined]
        elif axis.n_values is None:
            self.node = (hp.loguniform if axis.is_log else hp.uniform)(name, axis.low, axis.high)
        else:
            self.node = (hp.qloguniform if axis.is_log else hp.quniform)(name, axis.low, axis.high, 1)

    def value_of(self, param: Any) -> Any:
        """HyperOpt's value of a parameter: the index of a choice or on a grid, else the parameter's own."""
        if self.axis is None:
            return int(self.distribution.to_internal_repr(param))
        return float(param) if self.axis.is_log else self.axis.position_of(param)

    def param_of(self, value: Any) -> Any:
        """The parameter of HyperOpt's value."""
        if self.axis is None:
            return self.distribution.to_external_repr(int(value))
        return self.axis.nearest(float(value)) if self.axis.is_log else self.axis.value_at(float(value))
