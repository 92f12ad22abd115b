"""What one ask of TPE costs with a long history: Rustuna's through tuneflow, Optuna's own.

Five continuous parameters, all known trials complete, in memory; an ask proposes all five. The trials were told to
either sampler before the clock runs.
"""

from __future__ import annotations

import random
import statistics
import sys

import harness

SIZES = (1_000, 10_000)
RATIO = 5.0


def ask_ms(sizes, n_asks):
    """Milliseconds of processor time of one ask, by size: Rustuna's and Optuna's, asked in turn."""
    import optuna
    from optuna.distributions import FloatDistribution

    from tuneflow_integrations.rustuna import RustunaTPESampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {f"x{i}": FloatDistribution(-5, 5) for i in range(5)}
    rng = random.Random(0)
    found = {"rustuna": [], "optuna": []}
    for size in sizes:
        known = []
        for _ in range(size):
            params = {name: rng.uniform(-5, 5) for name in space}
            value = sum(x * x for x in params.values())
            known.append(optuna.create_trial(params=params, distributions=space, value=value))
        asks = {}
        for name, sampler in (("rustuna", RustunaTPESampler(seed=0)), ("optuna", optuna.samplers.TPESampler(seed=0))):
            study = optuna.create_study(sampler=sampler)
            study.add_trials(known)
            study.ask(space)

            def ask(study=study):
                study.tell(study.ask(space), 1.0)

            asks[name] = ask
        for name, taken in harness.interleaved(asks, n_asks).items():
            found[name].append(statistics.median(taken) / 1000.0)
    return found


def measure(report, quick):
    found = ask_ms(SIZES, 7 if quick else 40)
    report.curve("TPE, one ask and tell, ms", SIZES, {"rustuna": found["rustuna"], "Optuna": found["optuna"]})
    for size, ours, theirs in zip(SIZES, found["rustuna"], found["optuna"], strict=True):
        claim = f"TPE ask at {size:,} known trials, sampler='rustuna'"
        if size == SIZES[-1]:
            report.add(harness.against(claim, ours, "Optuna", theirs, 1 / RATIO, "ms"))
        else:
            report.add(harness.note(claim, ours, "ms", "Optuna", theirs))
        report.remark(f"{size:,} trials: Optuna's takes {theirs / ours:.1f} times as long as Rustuna's")


if __name__ == "__main__":
    sys.exit(harness.main(measure))
