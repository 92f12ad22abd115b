"""``tuneflow demo``: tunes the network of ``digits`` with ASHA in two processes and says what came of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tuneflow.clock import Clock, SystemClock
from tuneflow.errors import MissingLibrary

__all__ = ["DemoSettings", "Savings", "run_demo", "savings"]


class DemoSettings(NamedTuple):
    """What the command line says.

    Attributes:
        trials: configurations to try, >= 1.
        epochs: of a full training, >= 1.
        seed: >= 0. The same seed with as many workers tries and stops the same configurations.
        workers: processes at a time, >= 1.
        folder: the experiment's folder; None for a fresh one under ``./tuneflow_results``.
    """

    trials: int = 30
    epochs: int = 27
    seed: int = 0
    workers: int = 2
    folder: str | None = None


class Savings(NamedTuple):
    """What stopping early left out.

    Attributes:
        n_stopped: trials that ended before the full budget.
        n_epochs: epochs trained.
        n_all_epochs: epochs that training every trial to the end would have taken.
        saved_s: seconds that the other epochs would have taken, at each trial's own speed, all workers together.
    """

    n_stopped: int
    n_epochs: int
    n_all_epochs: int
    saved_s: float


def savings(trained: Sequence[tuple[int, float]], epochs: int) -> Savings:
    """Adds up what was trained and what was not.

    Args:
        trained: of each trial, the epochs trained and the seconds that one takes.
        epochs: of a full training.

    Example:
        >>> savings([(1, 0.5), (4, 2.0)], epochs=4)
        Savings(n_stopped=1, n_epochs=5, n_all_epochs=8, saved_s=1.5)
    """
    return Savings(
        n_stopped=sum(1 for n_epochs, _ in trained if n_epochs < epochs),
        n_epochs=sum(n_epochs for n_epochs, _ in trained),
        n_all_epochs=epochs * len(trained),
        saved_s=sum((epochs - n_epochs) * epoch_s for n_epochs, epoch_s in trained),
    )


def run_demo(settings: DemoSettings, clock: Clock | None = None) -> None:
    """Runs the demonstration and prints its result.

    Raises:
        MissingLibrary: torch or scikit-learn is not installed.
        KeyboardInterrupt: after saying how to go on.
    """
    for module, library in (("torch", "torch"), ("sklearn", "scikit-learn")):
        if find_spec(module) is None:
            raise MissingLibrary(library, "demo")
    # Found out before anything of the experiment is imported: Optuna alone takes a second.
    import tuneflow as tune
    from tuneflow.cli import digits
    from tuneflow.pruners import ASHA
    from tuneflow.runner.resources import machine

    clock = clock or SystemClock()
    start_s = clock.monotonic()
    folder = _folder(settings.folder, clock)
    print(
        f"Tuning a small network on scikit-learn's digits (1,797 images of 8x8): {settings.trials} configurations of "
        f"{len(digits.SPACE)} hyperparameters, up to {settings.epochs} epochs each, {settings.workers} worker(s), "
        f"ASHA.\nA third of the images is held out: no decision looks at it.\n",
        flush=True,
    )
    try:
        analysis = tune.run(
            digits.train,
            {**digits.SPACE, "epochs": settings.epochs},
            metric="val_loss",
            mode="min",
            num_samples=settings.trials,
            scheduler=ASHA(max_resource=settings.epochs, min_resource=1, reduction_factor=3),
            # As many slots as were asked for, also on a machine with fewer cores.
            resources_per_trial={"cpu": min(1.0, machine().cpu / settings.workers)},
            max_concurrent_trials=settings.workers,
            name=folder.name,
            storage_path=folder.parent,
            resume="auto",
            seed=settings.seed,
            deterministic=True,
            verbose=2 if sys.stdout.isatty() else 1,  # the live table, or a line per trial
        )
    except (KeyboardInterrupt, SystemExit):
        print(f"or with: {_command(settings, folder)}", file=sys.stderr)
        raise
    tuned_s = clock.monotonic() - start_s
    accuracy = digits.retrain(analysis.best_config, seed=settings.seed)
    results = [trial.last_result for trial in analysis.trials if trial.last_result]
    saved = savings([(result["training_iteration"], result["epoch_s"]) for result in results], settings.epochs)
    print(_summary(analysis, accuracy, saved, tuned_s=tuned_s, total_s=clock.monotonic() - start_s, folder=folder))


def _folder(given: str | None, clock: Clock) -> Path:
    if given is not None:
        return Path(given).expanduser().resolve()
    moment = datetime.fromtimestamp(clock.time(), tz=timezone.utc).astimezone()
    base = Path("tuneflow_results").resolve() / f"digits_{moment:%Y-%m-%d_%H-%M-%S}"
    folder, counter = base, 1
    while folder.exists():
        counter += 1
        folder = base.with_name(f"{base.name}_{counter}")
    return folder


def _command(settings: DemoSettings, folder: Path) -> str:
    """The command that goes on with an interrupted demonstration."""
    options = [
        text
        for name in ("trials", "epochs", "seed", "workers")
        if getattr(settings, name) != DemoSettings._field_defaults[name]
        for text in (f"--{name}", str(getattr(settings, name)))
    ]
    return shlex.join(["tuneflow", "demo", *options, "--folder", _short(folder)])


def _short(path: Path) -> str:
    """The path from here where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _summary(analysis: Any, accuracy: float, saved: Savings, *, tuned_s: float, total_s: float, folder: Path) -> str:
    best = analysis.best_trial
    config = "\n".join(f"    {name:<13} {_readable(value)}" for name, value in analysis.best_config.items())
    result = best.last_result
    share = 1 - saved.n_epochs / saved.n_all_epochs
    return (
        f"\nBest configuration (trial {best.trial_id}, validation accuracy {result['val_accuracy']:.1%}, "
        f"loss {result['val_loss']:.3f}):\n{config}\n\n"
        f"Held-out accuracy of that configuration, trained on all the rest: {accuracy:.1%}\n"
        f"Stopped early: {saved.n_stopped} of {len(analysis.trials)} trials. {saved.n_epochs:,} of "
        f"{saved.n_all_epochs:,} epochs were trained; {share:.0%} were not, which saved about {saved.saved_s:.0f} s "
        f"of a worker's time.\n"
        f"Time: {tuned_s:.0f} s for the search, {total_s:.0f} s in all.\n"
        f"Results: {_short(folder)}; a report on them: tuneflow report {shlex.quote(_short(folder))}"
    )


def _readable(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
