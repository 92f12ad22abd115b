"""The adapters lose nothing: every search algorithm through tuneflow against the same library driven directly.

    python benchmarks/quality/bbob.py [--quick | --full] [--algorithms tpe hyperopt ...] [--functions 1 8 15 ...]
        [--dimensions 2 5 10] [--instances 5] [--evaluations 100] [--seeds 20] [--jobs 1] [--keep FILE]

The noiseless functions of BBOB (``cma.bbobbenchmarks``; Hansen et al. 2009) on [-5, 5]^d. A run is judged by its best
value's distance from the optimum. Both sides get the same settings and the same seed; tuneflow is used as its users do,
``create_study(space, sampler=NAME, seed=SEED)``, which gives each trial randomness of its own, so the two draw
different points. Over the runs, paired by function, instance, dimension and seed, ours must not be worse: Wilcoxon's
signed-rank test on the logarithms, one-sided, 5 %. No two runs share a seed, so that the pairs are independent.
Rustuna's TPE is compared with Optuna's as well.

A stronger statement stands beside it: where the study has no seed and the sampler has one, both sides should try the
very same points, to the last digit; looked at in one run per function and dimension. (Not where bayesian-optimization
proposes a point that it knows already, as it does in a corner: ours then draws one at random.)

``--full`` is the size at which the claim is made: 24 functions, dimensions 2, 5, 10, instances 1 to 5, 20 seeds. On one
core that is about 5 minutes for random search, 20 for Rustuna and CMA-ES, an hour for Optuna's TPE, two for HyperOpt,
three to four for Nevergrad, days for bayesian-optimization and Ax. With ``--keep`` each run is written to a file as
soon as it is done, and a later call with the same file goes on from there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import statistics
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ALGORITHMS = ("random", "tpe", "cmaes", "hyperopt", "nevergrad", "rustuna", "bayesopt", "ax")
FULL = {"functions": list(range(1, 25)), "dimensions": [2, 5, 10], "instances": 5, "evaluations": 100, "seeds": 20}
DEFAULT = {"functions": [1, 3, 8, 15, 21], "dimensions": [2, 5], "instances": 1, "evaluations": 100, "seeds": 5}
QUICK = {"functions": [1, 8], "dimensions": [2], "instances": 1, "evaluations": 30, "seeds": 3}
CHEAP = ["random", "tpe", "hyperopt", "nevergrad", "rustuna"]
LEVEL = 0.05
TINY = 1e-8  # BBOB's own final precision: below it all are equal
BELOW = math.nextafter(5, -5)  # what tune.uniform(-5, 5) gives for a proposal of 5 itself, here for both sides


class Case(NamedTuple):
    """One problem, how long to work on it, and which of several runs it is."""

    function: int
    instance: int
    dimension: int
    evaluations: int
    run: int

    @property
    def seed(self) -> int:
        """Another one in each case: with one for many functions, all would be searched by the same lucky draws."""
        return zlib.crc32(repr(tuple(self)).encode())

    def objective(self) -> tuple[Callable[[Sequence[float]], float], float]:
        from cma import bbobbenchmarks

        function, optimum = bbobbenchmarks.instantiate(self.function, iinstance=self.instance)
        return lambda x: float(function(np.asarray(x, dtype=float))), float(optimum)

    @property
    def names(self) -> list[str]:
        return [f"x{i}" for i in range(self.dimension)]


Points = list[tuple[float, ...]]


def ours(algorithm: str, case: Case, *, same_draws: bool) -> tuple[Points, list[float]]:
    """The points that a study of tuneflow's tries, and their values."""
    import tuneflow as tune
    from tuneflow.samplers import make_sampler
    from tuneflow.space import Space

    space = {name: tune.uniform(-5, 5) for name in case.names}
    if same_draws:
        sampler = make_sampler(algorithm, space=Space(space), seed=case.seed)
        study = tune.create_study(space, sampler=sampler)
    else:
        study = tune.create_study(space, sampler=algorithm, seed=case.seed)
    objective, _ = case.objective()
    points, values = [], []
    for _ in range(case.evaluations):
        trial = study.ask()
        points.append(tuple(trial.config[name] for name in case.names))
        values.append(objective(points[-1]))
        study.tell(trial, values[-1])
    return points, values


def direct(algorithm: str, case: Case) -> tuple[Points, list[float]]:
    """The points that the library tries when it is driven as its own documentation says, and their values."""
    objective, _ = case.objective()
    points: Points = []
    values: list[float] = []

    def tried(x: Sequence[float]) -> float:
        points.append(tuple(min(float(value), BELOW) for value in x))
        values.append(objective(points[-1]))
        return values[-1]

    {"hyperopt": _hyperopt, "nevergrad": _nevergrad, "rustuna": _rustuna, "bayesopt": _bayesopt, "ax": _ax}.get(
        algorithm, _optuna(algorithm)
    )(case, tried)
    return points, values


def _optuna(algorithm: str) -> Callable[[Case, Any], None]:
    def run(case: Case, tried: Any) -> None:
        import optuna
        from optuna.distributions import FloatDistribution

        classes = {"random": "RandomSampler", "tpe": "TPESampler", "cmaes": "CmaEsSampler"}
        study = optuna.create_study(sampler=getattr(optuna.samplers, classes[algorithm])(seed=case.seed))
        space = {name: FloatDistribution(-5, 5) for name in case.names}
        for _ in range(case.evaluations):
            trial = study.ask(space)
            study.tell(trial, tried([trial.params[name] for name in case.names]))

    return run


def _hyperopt(case: Case, tried: Any) -> None:
    import hyperopt

    hyperopt.fmin(
        lambda point: tried([point[name] for name in case.names]),
        {name: hyperopt.hp.uniform(name, -5, 5) for name in case.names},
        algo=hyperopt.tpe.suggest, max_evals=case.evaluations, rstate=np.random.default_rng(case.seed),
        show_progressbar=False, verbose=False,
    )  # fmt: skip


def _nevergrad(case: Case, tried: Any) -> None:
    import nevergrad as ng

    space = ng.p.Dict(**{name: ng.p.Scalar(lower=-5, upper=5) for name in case.names})
    space.random_state = np.random.RandomState(case.seed)
    optimizer = ng.optimizers.Shiwa(space, budget=100, num_workers=2)
    for _ in range(case.evaluations):
        candidate = optimizer.ask()
        optimizer.tell(candidate, tried([candidate.value[name] for name in case.names]))


def _rustuna(case: Case, tried: Any) -> None:
    import rustuna

    study = rustuna.create_study(sampler=rustuna.samplers.TPESampler(seed=case.seed))
    for _ in range(case.evaluations):
        trial = study.ask()
        study.tell(trial.number, tried([trial.suggest_float(name, -5, 5) for name in case.names]))


def _bayesopt(case: Case, tried: Any) -> None:
    from bayes_opt import BayesianOptimization

    optimizer = BayesianOptimization(
        lambda **point: -tried([point[name] for name in case.names]),
        dict.fromkeys(case.names, (-5, 5)),
        random_state=np.random.RandomState(case.seed), verbose=0, allow_duplicate_points=True,
    )  # fmt: skip
    optimizer.maximize(init_points=4, n_iter=case.evaluations - 4)


def _ax(case: Case, tried: Any) -> None:
    from ax.api.client import Client
    from ax.api.configs import RangeParameterConfig

    seed = case.seed & 0x7FFFFFFF  # as the adapter does
    client = Client(random_seed=seed)
    client.configure_experiment([RangeParameterConfig(name, (-5.0, 5.0), "float") for name in case.names])
    client.configure_optimization("-loss")
    client.configure_generation_strategy(initialization_random_seed=seed, allow_exceeding_initialization_budget=True)
    for _ in range(case.evaluations):
        ((index, point),) = client.get_next_trials(1).items()
        client.complete_trial(index, {"loss": tried([point[name] for name in case.names])})


def distance(values: Sequence[float], case: Case) -> float:
    """Logarithm of the best value's distance from the optimum."""
    return math.log10(max(min(values) - case.objective()[1], TINY))


Result = tuple[float, float, bool | None]


def compared(algorithm: str, case: Case) -> Result:
    """Ours and theirs; and whether the same draws give the same points, in the runs where that is looked at."""
    is_first = case.instance == 1 and case.run == 0
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, their_values = direct(algorithm, case)
        our_values = ours(algorithm, case, same_draws=False)[1]
        is_same = _are_same(ours(algorithm, case, same_draws=True)[0], theirs) if is_first else None
    return distance(our_values, case), distance(their_values, case), is_same


class Kept:
    """The runs that are done, by algorithm and case; in a file of JSON lines where one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._results: dict[tuple[str, Case], Result] = {}
        if path is not None and path.exists():
            for algorithm, case, result in map(json.loads, path.read_text().splitlines()):
                self._results[algorithm, Case(*case)] = tuple(result)

    def add(self, algorithm: str, case: Case, result: Result) -> None:
        self._results[algorithm, case] = result
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([algorithm, case, result]) + "\n")

    def missing(self, algorithm: str, cases: Sequence[Case]) -> list[Case]:
        return [case for case in cases if (algorithm, case) not in self._results]

    def of(self, algorithm: str, cases: Sequence[Case]) -> list[Result]:
        return [self._results[algorithm, case] for case in cases]


def _are_same(ours_: Points, theirs: Points) -> bool:
    """To the last digit."""
    return list(ours_) == list(theirs)


def p_worse(ours_: Sequence[float], theirs: Sequence[float]) -> float:
    """Of Wilcoxon's signed-rank test for "ours are larger"; 1 where none differ."""
    from scipy.stats import wilcoxon

    if all(a == b for a, b in zip(ours_, theirs, strict=True)):
        return 1.0
    return float(wilcoxon(ours_, theirs, alternative="greater").pvalue)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a look: seconds")
    size.add_argument("--full", action="store_true", help="the size at which the claim is made: hours to days")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, help="default: the cheap ones; all with --full")
    parser.add_argument("--functions", nargs="+", type=int, metavar="N", help="BBOB's numbers, 1 to 24")
    parser.add_argument("--dimensions", nargs="+", type=int, metavar="D")
    parser.add_argument("--instances", type=int, help="that many, from 1")
    parser.add_argument("--evaluations", type=int)
    parser.add_argument("--seeds", type=int, help="that many, from 0")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write each run there; go on from what it holds")
    given = parser.parse_args()
    sizes: dict[str, Any] = dict(QUICK if given.quick else FULL if given.full else DEFAULT)
    sizes.update({name: value for name in sizes if (value := getattr(given, name)) is not None})
    algorithms = given.algorithms or (list(ALGORITHMS) if given.full else CHEAP)
    cases = [
        Case(function, instance, dimension, sizes["evaluations"], run)
        for run, function, instance, dimension in itertools.product(
            range(sizes["seeds"]), sizes["functions"], range(1, sizes["instances"] + 1), sizes["dimensions"]
        )
    ]
    print(f"{len(cases)} paired runs of {sizes['evaluations']} evaluations: {sizes}")
    print("median log10 distance from the optimum; p of the test for 'ours is worse'")
    print(f"{'':22}{'ours':>8}{'direct':>8}{'p':>8}  {'same points':14}verdict", flush=True)
    kept = Kept(given.keep)
    found: dict[str, tuple[list[float], list[float]]] = {}
    missed = 0
    with ProcessPoolExecutor(given.jobs) as pool:
        for algorithm in algorithms:
            start = time.perf_counter()
            missing = kept.missing(algorithm, cases)
            for case, result in zip(missing, pool.map(compared, itertools.repeat(algorithm), missing), strict=True):
                kept.add(algorithm, case, result)
            results = kept.of(algorithm, cases)
            our, their = [r[0] for r in results], [r[1] for r in results]
            same = [r[2] for r in results if r[2] is not None]
            found[algorithm] = our, their
            missed += _line(algorithm, our, their, f"{sum(same)} of {len(same)}", time.perf_counter() - start)
    if "rustuna" in found and "tpe" in found:
        missed += _line("rustuna against tpe", found["rustuna"][0], found["tpe"][1], "", 0.0)
    return 1 if missed else 0


def _line(title: str, our: list[float], their: list[float], same: str, seconds: float) -> bool:
    p = p_worse(our, their)
    verdict = "not worse" if p >= LEVEL else "WORSE"
    medians = f"{statistics.median(our):8.3f}{statistics.median(their):8.3f}"
    print(f"{title:22}{medians}{p:8.3f}  {same:14}{verdict}  {seconds:.0f} s", flush=True)
    return p < LEVEL


if __name__ == "__main__":
    sys.exit(main())
