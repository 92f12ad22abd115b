"""The adapters lose nothing: every search algorithm through tuneflow against the same library driven directly.

    python benchmarks/quality/bbob.py [--quick | --full] [--algorithms tpe hyperopt ...] [--functions 1 8 15 ...]
        [--dimensions 2 5 10] [--instances 5] [--evaluations 100] [--seeds 20] [--draws same | own]
        [--jobs 1] [--keep FILE]

The noiseless functions of BBOB (``cma.bbobbenchmarks``; Hansen et al. 2009) on [-5, 5]^d. A run is judged by its best
value's distance from the optimum. Over the runs, paired by function, instance, dimension and seed, ours must not be
worse: Wilcoxon's signed-rank test on the logarithms, one-sided, 5 %. No two runs share a seed, so that the pairs are
independent. Rustuna's TPE is compared with Optuna's as well.

``--draws same`` (the default): both sides search with the same seed, the study through a sampler that is given it. What
is left between the two is the adapter, so each pair should end with the very same best value, having tried the same
points to the last digit. Both are counted. (Not where bayesian-optimization proposes a point that it knows already, as
it does in a corner: ours then draws one at random.)

``--draws own``: ``create_study(space, sampler=NAME, seed=SEED)``, which gives each trial randomness of its own, so the
two sides draw different points. This asks whether searching with a seed per trial is as good as searching with one
seed. Here luck decides too: of twenty such tests of equal searches, one misses.

``--full`` is the size at which the claim is made: 24 functions, dimensions 2, 5, 10, instances 1 to 5, 20 seeds. On one
core that is about 5 minutes for random search, 20 for Rustuna and CMA-ES, an hour for Optuna's TPE, two for HyperOpt,
three to four for Nevergrad, days for bayesian-optimization and Ax. With ``--keep`` each search is written to a file as
soon as it is done, and a later call with the same file goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
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
from typing import Any, Literal, NamedTuple, get_args

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


class Search(NamedTuple):
    """How far one side came, and a digest of the points that it tried, for telling whether two tried the same."""

    distance: float
    points: str | None  # None: not known


Draws = Literal["same", "own"]
Side = Literal["direct", "same", "own"]  # the library itself, or ours with the same draws or its own


def searched(algorithm: str, side: Side, case: Case) -> Search:
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if side == "direct":
            points, values = direct(algorithm, case)
        else:
            points, values = ours(algorithm, case, same_draws=side == "same")
    digest = hashlib.sha256(np.asarray(points, dtype="<f8").tobytes()).hexdigest()[:16]
    return Search(distance(values, case), digest)


class Kept:
    """The searches that are done, by algorithm, side and case; in a file of JSON lines where one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._done: dict[tuple[str, Side, Case], Search] = {}
        if path is not None and path.exists():
            for algorithm, side, case, search in map(json.loads, path.read_text().splitlines()):
                self._done[algorithm, side, Case(*case)] = Search(*search)

    def add(self, algorithm: str, side: Side, case: Case, search: Search) -> None:
        self._done[algorithm, side, case] = search
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([algorithm, side, case, search]) + "\n")

    def missing(self, algorithm: str, sides: Sequence[Side], cases: Sequence[Case]) -> list[tuple[Side, Case]]:
        return [(side, case) for case in cases for side in sides if (algorithm, side, case) not in self._done]

    def of(self, algorithm: str, side: Side, cases: Sequence[Case]) -> list[Search]:
        return [self._done[algorithm, side, case] for case in cases]


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
    parser.add_argument("--draws", choices=get_args(Draws), default="same", help="whether the two sides share theirs")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write each search there; go on from what it holds")
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
    draws: Draws = given.draws
    print(f"{len(cases)} paired runs of {sizes['evaluations']} evaluations, {draws} draws: {sizes}")
    print("median log10 distance from the optimum; p of the test for 'ours is worse'")
    print(f"{'':22}{'ours':>8}{'direct':>8}{'p':>8}  {'same best':15}{'same points':15}verdict", flush=True)
    kept = Kept(given.keep)
    missed = 0
    with ProcessPoolExecutor(given.jobs) as pool:
        for algorithm in algorithms:
            start = time.perf_counter()
            missing = kept.missing(algorithm, (draws, "direct"), cases)
            found = pool.map(searched, itertools.repeat(algorithm), *zip(*missing, strict=True)) if missing else ()
            for (side, case), search in zip(missing, found, strict=True):
                kept.add(algorithm, side, case, search)
            pair = kept.of(algorithm, draws, cases), kept.of(algorithm, "direct", cases)
            missed += _line(algorithm, *pair, time.perf_counter() - start)
    if {"rustuna", "tpe"} <= set(algorithms):
        pair = kept.of("rustuna", draws, cases), kept.of("tpe", "direct", cases)
        missed += _line("rustuna against tpe", *pair, 0.0)
    return 1 if missed else 0


def _line(title: str, our: Sequence[Search], their: Sequence[Search], seconds: float) -> bool:
    p = p_worse([search.distance for search in our], [search.distance for search in their])
    verdict = "not worse" if p >= LEVEL else "WORSE"
    medians = "".join(f"{statistics.median(search.distance for search in side):8.3f}" for side in (our, their))
    pairs = list(zip(our, their, strict=True))
    known = [a.points == b.points for a, b in pairs if a.points is not None and b.points is not None]
    best = f"{sum(a.distance == b.distance for a, b in pairs)} of {len(pairs)}"
    points = f"{sum(known)} of {len(known)}"
    print(f"{title:22}{medians}{p:8.3f}  {best:15}{points:15}{verdict}  {seconds:.0f} s", flush=True)
    return p < LEVEL


if __name__ == "__main__":
    sys.exit(main())
