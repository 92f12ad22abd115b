"""Reports per second of Syne Tune's simulator with ASHA, by trials. See ``benchmarks/simulator_speed.py``.

The same curves, the same rungs and one unit of virtual time per step. Its tuner looks once per step, which is the
rarest that lets it stop trials where they should stop; its delays, the tuner's own saving and its printed tables are
switched off. What it must have, its ``SimulatorCallback``, stays, and writes the results once, at the end. Runs with
0.13, whose ASHA has a stopping and a promotion form, and with 0.14 and newer, which have the stopping form.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import logging
import time
from typing import Any

import harness

with contextlib.redirect_stdout(io.StringIO()):  # it lists the extras that are not installed
    from syne_tune import StoppingCriterion, Tuner, config_space
    from syne_tune.backend.simulator_backend.simulator_backend import SimulatorBackend, SimulatorConfig
    from syne_tune.backend.simulator_backend.simulator_callback import SimulatorCallback
    from syne_tune.backend.trial_status import Status

MAX_STEPS, ETA = 256, 4
TIME, METRIC, ELAPSED = "step", "loss", "elapsed"
SPACE = {"x": config_space.uniform(0.0, 1.0), "y": config_space.uniform(0.0, 1.0)}
NO_DELAYS = SimulatorConfig(0.0, 0.0, 0.0, 0.0, 0.0)
NEVER = 1e9


class Curves(SimulatorBackend):
    """The simulator over loss = x + (1 + y) / step, a step per unit of time; a resumed trial goes on where it paused.

    What its own table backends do, without the table: those need the libraries of Syne Tune's blackbox repository.
    """

    def __init__(self) -> None:
        super().__init__(__file__, ELAPSED, simulator_config=NO_DELAYS, tuner_sleep_time=1.0)
        self._paused_at: dict[int, int] = {}

    def _pause_trial(self, trial_id: int, result: dict[str, Any] | None) -> None:
        super()._pause_trial(trial_id, result)
        if result is not None:
            self._paused_at[trial_id] = result[TIME]

    def _run_job_and_collect_results(
        self, trial_id: int, config: dict[str, Any] | None = None
    ) -> tuple[str, list[dict[str, Any]]]:
        if config is None:
            config = self._trial_dict[trial_id].config
        x, over = config["x"], 1 + config["y"]
        begin = self._paused_at.get(trial_id, 0)
        steps = range(begin + 1, MAX_STEPS + 1)
        return Status.completed, [{METRIC: x + over / step, TIME: step, ELAPSED: step - begin} for step in steps]


def asha(form: str):
    """The scheduler, with random search.

    Raises:
        ValueError: a version that has no promotion form.
    """
    if importlib.util.find_spec("syne_tune.optimizer.schedulers.asha") is None:
        from syne_tune.optimizer.schedulers import HyperbandScheduler

        return HyperbandScheduler(
            SPACE, searcher="random", metric=METRIC, mode="min", resource_attr=TIME, max_t=MAX_STEPS, grace_period=1,
            reduction_factor=ETA, type=form, random_seed=0, search_options={"debug_log": False},
        )  # fmt: skip
    if form != "stopping":
        raise ValueError(f"form={form!r}: from version 0.14 on ASHA has the stopping form only")
    from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving

    return AsynchronousSuccessiveHalving(
        SPACE, metric=METRIC, time_attr=TIME, max_t=MAX_STEPS, reduction_factor=ETA, random_seed=0
    )


def simulate(form: str, n_workers: int, n_trials: int) -> dict[str, float]:
    """One experiment of ``n_trials`` trials, all of them ended: reports, trials, seconds of processor time."""
    callback = SimulatorCallback()
    tuner = Tuner(
        Curves(),
        asha(form),
        StoppingCriterion(max_num_trials_started=n_trials),
        n_workers,
        sleep_time=0.0,
        results_update_interval=NEVER,
        print_update_interval=NEVER,
        callbacks=[callback],
        save_tuner=False,
        wait_trial_completion_when_stopping=True,
    )
    start = time.process_time()
    tuner.run()
    seconds = time.process_time() - start
    trials = {result["trial_id"] for result in callback.results}
    return {"reports": len(callback.results), "trials": len(trials), "seconds": seconds}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("form", choices=["stopping", "promotion"])
    arguments.add_argument("workers", type=int)
    arguments.add_argument("trials", nargs="+", type=int)
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()):
        runs = [simulate(given.form, given.workers, n) for n in given.trials]
    harness.reply({"version": importlib.metadata.version("syne-tune"), "runs": runs})


if __name__ == "__main__":
    main()
