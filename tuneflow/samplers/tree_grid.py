"""Every combination of a space that is defined by run, each once: conditional parameters, and late ones, included."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = ["TreeGridSampler", "grid_values"]


def grid_values(distribution: BaseDistribution, n_points: int) -> list[Any]:
    """The values of a grid: all of them, or ``n_points`` in the middle of as many equal parts where they are too many.

    Args:
        distribution: of one parameter.
        n_points: for real numbers without a step and integers on a logarithmic scale.
    """
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if not isinstance(distribution, (FloatDistribution, IntDistribution)):
        raise TypeError(f"{distribution!r} is no distribution that a grid knows")
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None and not distribution.log:
        n_values = math.floor((high - low) / step + 1e-8) + 1
        return [low + index * step for index in range(n_values)]
    shares = [(index + 0.5) / n_points for index in range(n_points)]
    if distribution.log:
        values = [math.exp(math.log(low) + share * (math.log(high) - math.log(low))) for share in shares]
    else:
        values = [low + share * (high - low) for share in shares]
    if isinstance(distribution, IntDistribution):
        return sorted({min(max(round(value), low), high) for value in values})
    return values


@dataclass(slots=True)
class _Branch:
    """A parameter that trials asked for after the same values of others.

    Attributes:
        name: of the parameter.
        prefix: the values that lead here.
        untried: values that no trial has been given, the next one last.
        children: what follows each value.
    """

    name: str
    prefix: dict[str, Any]
    untried: list[Any]
    children: dict[Any, _Node] = field(default_factory=dict)


@dataclass(slots=True)
class _Node:
    """A point between two parameters: the branches that trials took from here, one unless their code is not settled."""

    branches: dict[str, _Branch] = field(default_factory=dict)


@dataclass(slots=True)
class _Walk:
    """Where a running trial is, and the values that it has to take on its way."""

    node: _Node
    path: dict[str, Any]
    wanted: dict[str, Any]


class TreeGridSampler(BaseSampler):
    """Walks the tree of all combinations, depth first: what is asked for last changes fastest.

    Each value that a trial meets for the first time leaves its siblings for later trials, so that nothing need be known
    of the space beforehand. Trials that run at the same time get different branches; where all known ones are taken,
    ``is_exhausted`` holds until a running trial has opened more.

    Args:
        n_points: values of a parameter that has infinitely many, or is an integer on a logarithmic scale.
        known: trials of the study, in order of number, whose combinations are done.

    Attributes:
        is_exhausted: no combination is known that is not tried or being tried.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=TreeGridSampler())
        >>> seen = []
        >>> def objective(trial):
        ...     kind = trial.suggest_categorical("kind", ["a", "b"])
        ...     size = trial.suggest_int("size", 1, 2) if kind == "b" else 0
        ...     seen.append((kind, size))
        ...     return 0.0
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study.optimize(objective, n_trials=3)
        >>> seen
        [('a', 0), ('b', 1), ('b', 2)]
    """

    def __init__(self, n_points: int = 10, known: Iterable[FrozenTrial] = ()) -> None:
        self._n_points = n_points
        self._root = _Node()
        self._open: list[_Branch] = []
        self._walks: dict[int, _Walk] = {}
        self._n_started = 0
        for trial in known:
            self._n_started += 1
            self._fold(trial)

    @property
    def is_exhausted(self) -> bool:
        self._drop_empty()
        return self._n_started > 0 and not self._open

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Gives a new trial the next combination that is open; one of a former driver goes on where it is."""
        if trial.params:
            node, path = self._fold(trial)
            self._walks[trial._trial_id] = _Walk(node, path, self._next_below(path))
            return
        self._n_started += 1
        self._walks[trial._trial_id] = _Walk(self._root, {}, self._next_below({}))

    def _next_below(self, path: Mapping[str, Any]) -> dict[str, Any]:
        """The values that lead to the next combination that is open below ``path``; empty where none is known."""
        self._drop_empty()
        for branch in reversed(self._open):
            if branch.untried and path.items() <= branch.prefix.items():
                return {**branch.prefix, branch.name: branch.untried.pop()}
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        walk = self._walks.get(trial._trial_id)
        if walk is None:  # nobody has announced the trial
            walk = self._walks[trial._trial_id] = _Walk(*self._fold(trial), {})
        branch, is_new = self._branch(walk.node, param_name, param_distribution, walk.path)
        if param_name in walk.wanted:
            value = walk.wanted[param_name]
        elif is_new or branch.untried:
            value = branch.untried.pop()
        else:
            value = next(iter(branch.children))
        self._step(walk, branch, value)
        return value

    def after_trial(self, study: Study, trial: FrozenTrial, state: Any, values: Any) -> None:
        """Forgets where the trial was."""
        self._walks.pop(trial._trial_id, None)

    def _branch(
        self, node: _Node, name: str, distribution: BaseDistribution, path: Mapping[str, Any]
    ) -> tuple[_Branch, bool]:
        branch = node.branches.get(name)
        if branch is not None:
            return branch, False
        untried = grid_values(distribution, self._n_points)[::-1]
        branch = node.branches[name] = _Branch(name, dict(path), untried)
        self._open.append(branch)
        return branch, True

    @staticmethod
    def _step(walk: _Walk, branch: _Branch, value: Any) -> None:
        walk.path = {**walk.path, branch.name: value}
        walk.node = branch.children.setdefault(value, _Node())

    def _fold(self, trial: FrozenTrial) -> tuple[_Node, dict[str, Any]]:
        """Takes in the combination of a stored trial. Returns where it is."""
        walk = _Walk(self._root, {}, {})
        for name, value in trial.params.items():
            branch, _ = self._branch(walk.node, name, trial.distributions[name], walk.path)
            if value in branch.untried:
                branch.untried.remove(value)
            self._step(walk, branch, value)
        return walk.node, walk.path

    def _drop_empty(self) -> None:
        while self._open and not self._open[-1].untried:
            self._open.pop()
