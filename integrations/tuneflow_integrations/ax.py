"""Bayesian optimisation by Ax, as an Optuna sampler.

pip install 'tuneflow[ax]'
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuneflow.errors import InvalidArgument
from tuneflow.samplers.axes import Coded
from tuneflow.samplers.foreign import Distributions, ForeignSampler, Model
from tuneflow.samplers.ledger import Observation, Running

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of torch's, about what linear_operator is built with
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from tuneflow.space import Space

__all__ = ["AxSampler", "make_sampler"]


class AxSampler(ForeignSampler):
    """Ax's client for any Optuna study: Sobol points first, then BoTorch's models.

    Trials that run at the same time are known to Ax as pending. Steps and integers are Ax's integers, choices its
    unordered ones. Where Ax has nothing to propose, or half of all
    points were tried, the draw is random. A proposal takes seconds once the model is
    asked.

    Args:
        search_space: parameters known beforehand, as Optuna distributions by name.
        seed: an integer >= 0; None for a random one.
        method: "fast", "quality" or "random_search", as in ``Client.configure_generation_strategy``.
        initialization_budget: trials before the model is asked, >= 1; None for Ax's own choice.

    Raises:
        InvalidArgument: a value breaks its rule; several objectives.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=AxSampler(seed=0))
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=6)
        >>> study.best_value < 0.1
        True
    """

    def __init__(
        self,
        search_space: Distributions | None = None,
        *,
        seed: int | None = None,
        method: str = "fast",
        initialization_budget: int | None = None,
    ) -> None:
        if method not in ("fast", "quality", "random_search"):
            raise InvalidArgument(f"method={method!r} must be 'fast', 'quality' or 'random_search'")
        budget = initialization_budget
        if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
            raise InvalidArgument(f"initialization_budget={budget!r} must be an integer >= 1, or None")
        super().__init__(search_space, seed=seed)
        # Ax derives all of its draws from one seed, which therefore stays what it was.
        self._client_seed = self.seed & 0x7FFFFFFF
        self._strategy = {"method": method, "initialization_budget": budget}

    def check(self, space: Distributions) -> None:
        """Ax expresses all of Optuna's distributions."""

    def make_model(self, space: Distributions) -> Model:
        entries = {name: _Entry(f"x{index}", d) for index, (name, d) in enumerate(space.items())}
        with _quiet():
            client = Client(random_seed=self._client_seed)
            client.configure_experiment([entry.config for entry in entries.values()])
            client.configure_optimization("-loss")
            client.configure_generation_strategy(
                **self._strategy,
                initialization_random_seed=self._client_seed,
                allow_exceeding_initialization_budget=True,
            )
        return _Client(entries, client, self)

    def __getstate__(self) -> dict[str, Any]:
        """A client is not meant to be pickled: the history is told to a new one."""
        return {**super().__getstate__(), "_models": {}}


def make_sampler(*, space: Space | None = None, seed: int | None = None, **options: Any) -> AxSampler:
    """What ``sampler="ax"`` and ``tuneflow.search.AxSearch`` make."""
    return AxSampler(None if space is None else space.distributions, seed=seed, **options)


class _Client(Model):
    """A client of Ax, and which of its trials stands for which of the study's."""

    def __init__(self, entries: Mapping[str, _Entry], client: Client, sampler: AxSampler) -> None:
        self._entries = entries
        self._client = client
        self._sampler = sampler
        self._proposed: dict[int, tuple[int, dict[str, Any]]] = {}
        self._completed: dict[int, int] = {}
        self._finite = (math.inf, -math.inf)
        self._n_points = math.prod(entry.n_values for entry in entries.values())
        self._tried: set[tuple[Any, ...]] = set()

    def observe(self, seen: Observation) -> None:
        if math.isfinite(seen.loss):
            self._finite = min(self._finite[0], seen.loss), max(self._finite[1], seen.loss)
        data = {"loss": self._bounded(seen.loss)}
        with _quiet():
            if seen.number in self._completed:
                self._client.attach_data(self._completed[seen.number], data)
                return
            params = {name: seen.params[name] for name in self._entries}
            index, proposed = self._proposed.pop(seen.number, (-1, None))
            if proposed != params:
                if proposed is not None:
                    self._client.mark_trial_abandoned(index)
                index = self._client.attach_trial(self._values(params))
                self._tried.add(tuple(params.values()))
            self._client.complete_trial(index, data)
            self._completed[seen.number] = index

    def suggest(self, number: int, running: Sequence[Running]) -> dict[str, Any]:
        with _quiet():
            still = {trial.number for trial in running}
            for gone in [other for other in self._proposed if other not in still]:  # failed, or pruned unseen
                self._client.mark_trial_abandoned(self._proposed.pop(gone)[0])
            found = {} if self._is_used_up() else self._client.get_next_trials(1)
            if not found:
                values = {entry.alias: entry.drawn(self._sampler.rng) for entry in self._entries.values()}
                found = {self._client.attach_trial(values): values}
        ((index, values),) = found.items()
        params = {name: entry.param_of(values[entry.alias]) for name, entry in self._entries.items()}
        self._proposed[number] = index, params
        self._tried.add(tuple(params.values()))
        return dict(params)

    def _is_used_up(self) -> bool:
        """Whether Ax, which never proposes a point twice, would have to search for one: half of them were tried."""
        return 2 * len(self._tried) >= self._n_points

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {entry.alias: entry.value_of(params[name]) for name, entry in self._entries.items()}

    def _bounded(self, loss: float) -> float:
        """An infinite loss counts as the best or worst finite one so far."""
        low, high = self._finite
        return min(max(loss, low), high) if low <= high else 0.0


class _Entry(Coded):
    """A parameter in Ax's terms. Its name there is short, whatever it holds here."""

    def __init__(self, alias: str, distribution: BaseDistribution) -> None:
        self.alias = alias
        super().__init__(distribution)
        axis = self.axis
        if axis is None:
            indices = list(range(self.n_choices))
            self.config: Any = ChoiceParameterConfig(alias, indices, "int", is_ordered=False)
        elif axis.is_log:
            bounds = axis.distribution.low, axis.distribution.high
            self.config = RangeParameterConfig(alias, bounds, "int" if axis.n_values else "float", scaling="log")
        elif axis.n_values is None:
            self.config = RangeParameterConfig(alias, (axis.low, axis.high), "float")
        else:
            self.config = RangeParameterConfig(alias, (0, axis.n_values - 1), "int")

    @property
    def n_values(self) -> float:
        """How many values there are."""
        if self.axis is None:
            return self.n_choices
        return self.axis.n_values or math.inf

    def drawn(self, rng: Any) -> Any:
        """A random value of Ax's."""
        if self.axis is None:
            return int(rng.integers(self.n_choices))
        return self.value_of(self.axis.value_at(rng.uniform(self.axis.low, self.axis.high)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Ax's line for each trial, and without what its models remark on their way."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
