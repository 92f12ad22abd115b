"""The tuners that KerasTuner's users know by name."""

from __future__ import annotations

import warnings
from typing import Any

from tuneflow.errors import InvalidArgument, TuneflowWarning
from tuneflow.pruners import HyperBand
from tuneflow.pruners.rungs import bracket_sizes, n_halvings
from tuneflow.tuners.base import HyperTuner

__all__ = ["BayesianOptimization", "GridSearch", "Hyperband", "RandomSearch"]


class RandomSearch(HyperTuner):
    """Draws every hyperparameter at random. Arguments as for ``HyperTuner``, but ``sampler``.

    Example:
        >>> import tempfile
        >>> tuner = RandomSearch(lambda hp: hp.Int("n", 1, 3), "loss", directory=tempfile.mkdtemp(), verbose=0)
        >>> tuner.search_space_summary()
        Search space summary
        Default search space size: 1
        n (Int)
        {'default': None, 'conditions': [], 'min_value': 1, 'max_value': 3, 'step': 1, 'sampling': 'linear'}
    """

    def __init__(self, hypermodel: Any, objective: Any = None, **arguments: Any) -> None:
        _refuse_sampler(self, arguments)
        super().__init__(hypermodel, objective, sampler="random", **arguments)


class BayesianOptimization(HyperTuner):
    """Models the objective by a Gaussian process (Optuna's ``GPSampler``); needs PyTorch and SciPy.

    It goes by expected improvement. Hyperparameters that only some trials have are drawn independently.

    Args:
        hypermodel: as for ``HyperTuner``.
        objective: as for ``HyperTuner``.
        num_initial_points: random trials before the model is asked; 10 without it.
        alpha: KerasTuner's, without effect: the noise is estimated.
        beta: KerasTuner's, without effect: expected improvement has no such weight.
        arguments: as for ``HyperTuner``, but ``sampler``.

    Example:
        >>> import tempfile
        >>> tuner = BayesianOptimization(lambda hp: hp.Int("n", 1, 3), "loss", directory=tempfile.mkdtemp(), verbose=0)
        >>> tuner.remaining_trials
        10
    """

    def __init__(
        self,
        hypermodel: Any,
        objective: Any = None,
        *,
        num_initial_points: int | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        **arguments: Any,
    ) -> None:
        _refuse_sampler(self, arguments)
        if num_initial_points is not None and num_initial_points < 1:
            raise InvalidArgument(f"num_initial_points={num_initial_points} must be >= 1")
        self._n_initial = num_initial_points
        for name, value in (("alpha", alpha), ("beta", beta)):
            if value is not None:
                text = f"{name}={value} has no effect: the Gaussian process estimates its noise and goes by expected "
                warnings.warn(TuneflowWarning(text + "improvement"), stacklevel=2)
        super().__init__(hypermodel, objective, sampler="gp", **arguments)

    def _make_sampler(self) -> Any:
        from tuneflow.samplers import make_sampler

        sampler: Any = make_sampler("gp", space=None, seed=self._seed)
        if self._n_initial is not None:
            sampler = type(sampler)(seed=self._seed, n_startup_trials=self._n_initial)
        return sampler


class GridSearch(HyperTuner):
    """Tries every combination once, conditional hyperparameters only where they count.

    A ``Float`` without a step has ten values. Other arguments as for ``HyperTuner``, but ``sampler``.

    Args:
        hypermodel: as for ``HyperTuner``.
        objective: as for ``HyperTuner``.
        max_trials: None for all combinations.
        arguments: as for ``HyperTuner``.

    Example:
        >>> import tempfile
        >>> from tuneflow.trainable import HyperModel
        >>> class Product(HyperModel):
        ...     def build(self, hp):
        ...         return hp.Int("a", 1, 2) * hp.Int("b", 1, 3)
        ...
        ...     def fit(self, hp, model):
        ...         return model
        >>> tuner = GridSearch(Product(), directory=tempfile.mkdtemp(), verbose=0)
        >>> tuner.search()
        >>> sorted(trial.value for trial in tuner.study.trials)
        [1.0, 2.0, 2.0, 3.0, 4.0, 6.0]
    """

    def __init__(
        self, hypermodel: Any, objective: Any = None, *, max_trials: int | None = None, **arguments: Any
    ) -> None:
        _refuse_sampler(self, arguments)
        super().__init__(hypermodel, objective, sampler="random", max_trials=max_trials, **arguments)

    def _make_sampler(self) -> Any:
        from tuneflow.samplers.tree_grid import TreeGridSampler

        return TreeGridSampler(known=self.study.get_trials(deepcopy=False) if self._project.has_study else ())


class Hyperband(HyperTuner):
    """Random search by HyperBand: many short trainings, of which the best go on from their weights.

    ``fit`` gets ``epochs=max_epochs`` where it takes it, and ``initial_epoch`` where it goes on; trials pause at the
    milestones of ``tuneflow.pruners.HyperBand``.

    Args:
        hypermodel: as for ``HyperTuner``.
        objective: as for ``HyperTuner``.
        max_epochs: of a trial that gets to the end.
        factor: of three (by default) configurations one goes on.
        hyperband_iterations: how many times to go through all brackets.
        max_trials: how many configurations in all; those of the brackets without it.
        sampler: random search by default.
        arguments: as for ``HyperTuner``, but ``pruner``.

    Example:
        >>> import tempfile
        >>> build = lambda hp: hp.Int("n", 1, 3)
        >>> tuner = Hyperband(build, "loss", max_epochs=9, directory=tempfile.mkdtemp(), verbose=0)
        >>> tuner.remaining_trials
        17
    """

    def __init__(
        self,
        hypermodel: Any,
        objective: Any = None,
        *,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int = 1,
        max_trials: int | None = None,
        sampler: Any = "random",
        **arguments: Any,
    ) -> None:
        if "pruner" in arguments:
            raise InvalidArgument("Hyperband brings its own pruner; use HyperTuner(pruner=...) for another")
        if hyperband_iterations < 1:
            raise InvalidArgument(f"hyperband_iterations={hyperband_iterations} must be >= 1")
        pruner = HyperBand(max_resource=max_epochs, reduction_factor=factor)
        if max_trials is None:
            max_trials = hyperband_iterations * sum(bracket_sizes(n_halvings(max_epochs, 1, factor), factor))
        super().__init__(hypermodel, objective, sampler=sampler, pruner=pruner, max_trials=max_trials, **arguments)
        self._epochs = max_epochs


def _refuse_sampler(tuner: HyperTuner, arguments: dict[str, Any]) -> None:
    if "sampler" in arguments:
        raise InvalidArgument(f"{type(tuner).__name__} brings its own sampler; use HyperTuner(sampler=...) for another")
