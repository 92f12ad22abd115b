"""Which cell of the grids each trial gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Known", "Turns"]


class Known(NamedTuple):
    """A trial that is there before a run begins.

    Attributes:
        number: its number.
        params: the Optuna parameters of the grids that it has, or was given; all, some or none.
        is_waiting: whether it has not started.
        is_retry: whether it has another trial's configuration, and so no cell of its own.
    """

    number: int
    params: Mapping[str, Any]
    is_waiting: bool
    is_retry: bool


class Turns:
    """Gives out every cell once per round; those that a trial already has are left out of the rounds to come.

    So a point that a user gives, which lies in some cell, takes that cell's turn and not another's.

    Args:
        cells: the cells in their order, natural values by flat name.
        params: the same cells as Optuna parameters.

    Example:
        >>> cells = [{"g": 10}, {"g": 20}]
        >>> turns = Turns(cells, cells)
        >>> turns.begin(0, [Known(0, {"g": 20}, True, False)])
        >>> [turns.next(index) for index in range(4)]
        [{'g': 20}, {'g': 10}, {'g': 10}, {'g': 20}]
    """

    def __init__(self, cells: Sequence[dict[str, Any]], params: Sequence[Mapping[str, Any]]) -> None:
        self._cells = cells
        self._params = params
        self._names = sorted(cells[0]) if cells else []
        self._by_params: dict[tuple[Any, ...], list[int]] = {}
        for index, cell in enumerate(params):
            self._by_params.setdefault(tuple(cell[name] for name in self._names), []).append(index)
        self._of_number: dict[int, dict[str, Any]] = {}
        self._first = 0
        self._order: list[dict[str, Any]] = []
        self._ahead: list[int] = []

    def begin(self, n_started: int, known: Iterable[Known]) -> None:
        """Takes in the trials that are there.

        Args:
            n_started: the index of the next trial that ``next`` is asked for.
            known: all of them, in order of number.
        """
        trials = list(known)
        own = [trial for trial in trials if not trial.is_retry]
        self._ahead = [0] * len(self._cells)
        self._of_number = {}
        for trial in sorted(own, key=lambda trial: len(trial.params) < len(self._names)):  # whose cell is known first
            matching = self._matching(trial.params)
            if matching:
                index = min(matching, key=self._ahead.__getitem__)
                self._ahead[index] += 1
                self._of_number[trial.number] = self._cells[index]
        self._first = n_started
        self._order = [self._of_number.get(trial.number, {}) for trial in trials if trial.is_waiting]

    def _matching(self, params: Mapping[str, Any]) -> Sequence[int]:
        """The cells that these parameters may lie in."""
        if len(params) == len(self._names):
            return self._by_params.get(tuple(params[name] for name in self._names), [])
        return [
            index
            for index, cell in enumerate(self._params)
            if all(cell[name] == value for name, value in params.items())
        ]

    def next(self, index: int) -> dict[str, Any]:
        """The cell of the trial that starts as number ``index`` of the run, those that wait first."""
        while len(self._order) <= index - self._first:
            for cell in range(len(self._cells)):
                if self._ahead[cell]:
                    self._ahead[cell] -= 1
                else:
                    self._order.append(self._cells[cell])
        return self._order[index - self._first]

    def of(self, number: int) -> dict[str, Any]:
        """The cell of a trial that was there when the run began."""
        return self._of_number.get(number, {})
