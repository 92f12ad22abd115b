"""The command line: ``tuneflow demo``, ``version``; ``resume``, ``report`` and ``sync`` with an experiment's folder."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import tuneflow
from tuneflow import registry
from tuneflow.cli.demo import DemoSettings, run_demo
from tuneflow.errors import ExperimentNotFound, TuneflowError

__all__ = ["main"]

_NAMED = ("optuna", "numpy", "pandas", "torch", "lightning", "ray", "wandb", "mlflow")
"""Libraries whose versions ``tuneflow version`` tells, where they are installed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that ``arguments`` (``sys.argv`` by default) name.

    Returns:
        The exit status: 0, 1 after an error that is explained on stderr, 130 after Ctrl-C. It exits with 143 after
        SIGTERM, and argparse with 2.
    """
    given = _parser().parse_args(arguments)
    try:
        given.command(given)
    except TuneflowError as error:
        print(f"tuneflow: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tuneflow", description=str(tuneflow.__doc__).splitlines()[0])
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    defaults = DemoSettings()
    demo = commands.add_parser("demo", help="tune a small network on real images, in under a minute")
    demo.description = (
        "Tunes a small PyTorch network on scikit-learn's handwritten digits with ASHA in worker processes. Needs "
        "no GPU, no account and no network."
    )
    demo.add_argument("--trials", type=_positive, default=defaults.trials, metavar="N", help="default %(default)s")
    demo.add_argument("--epochs", type=_positive, default=defaults.epochs, metavar="N", help="default %(default)s")
    demo.add_argument("--seed", type=_natural, default=defaults.seed, metavar="S", help="default %(default)s")
    demo.add_argument("--workers", type=_positive, default=defaults.workers, metavar="N", help="default %(default)s")
    demo.add_argument(
        "--folder", metavar="PATH", help="where results go; goes on with what is there (default: a fresh one)"
    )
    demo.set_defaults(command=_demo)

    report = commands.add_parser("report", help="write an HTML report on an experiment")
    report.description = "Writes an HTML report on an experiment, running or finished, and prints its best trial."
    report.add_argument("folder", metavar="FOLDER", help="the experiment's folder")
    report.add_argument("--output", metavar="FILE", help="default: report.html in that folder")
    report.set_defaults(command=_report)

    resume = commands.add_parser("resume", help="go on with an experiment that was interrupted")
    resume.description = (
        "Goes on with an experiment: finished trials are kept, the others continue from their last checkpoints. Works "
        "where its trainable can be imported; otherwise it names the call of tune.run to make."
    )
    resume.add_argument("folder", metavar="FOLDER", help="the experiment's folder; it may have been moved")
    resume.add_argument("--errored", action="store_true", help="try failed trials again")
    resume.set_defaults(command=_resume)

    sync = commands.add_parser("sync", help="send what a tracking server did not get yet")
    sync.description = (
        "Sends what an experiment still keeps for a tracking server (MLflow) that was down. Can be repeated, also "
        "while the experiment runs."
    )
    sync.add_argument("folder", metavar="FOLDER", help="the experiment's folder")
    sync.add_argument("--to", metavar="URI", help="the server's address, where it has changed or needs a password")
    sync.set_defaults(command=_sync)

    which = commands.add_parser("version", help="print the versions of tuneflow and of what it works with")
    which.set_defaults(command=lambda _: _print_versions())
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} must be >= 1")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} must be >= 0")
    return value


def _demo(given: argparse.Namespace) -> None:
    run_demo(DemoSettings(given.trials, given.epochs, given.seed, given.workers, given.folder))


def _report(given: argparse.Namespace) -> None:
    from pathlib import Path

    from tuneflow.analysis import ExperimentAnalysis

    root = Path(given.folder).expanduser()
    analysis = ExperimentAnalysis(root)
    target = Path(given.output).expanduser() if given.output is not None else root / "report.html"
    analysis.report(target)
    print(target)


def _resume(given: argparse.Namespace) -> None:
    from pathlib import Path

    from tuneflow.recall import recall

    folder = Path(given.folder).expanduser().resolve()
    trainable, arguments, directory = recall(folder)
    try:
        os.chdir(directory)  # what its trials name by a relative path is there
    except OSError as error:
        print(
            f"the experiment was begun in {directory}, which cannot be entered ({error.strerror}); its trials start in "
            f"{Path.cwd()}",
            file=sys.stderr,
        )
    resume = "errored" if given.errored else True
    analysis = tuneflow.run(trainable, **arguments, name=folder.name, storage_path=folder.parent, resume=resume)
    print(f"{len(analysis.trials)} trials in {folder}")


def _sync(given: argparse.Namespace) -> None:
    from pathlib import Path

    root = Path(given.folder).expanduser()
    if not root.is_dir():
        raise ExperimentNotFound(f"there is no folder {root}; give the folder of an experiment")
    # A tracker keeps what it has to send in tracking/NAME; its integration knows what to do with it.
    found = [name for name in registry.known("sync") if (root / "tracking" / name).is_dir()]
    lines = [line for name in found for line in registry.resolve("sync", name)(root, given.to)]
    print("\n".join(lines or [f"nothing is kept for a tracking server in {root}"]))


def _print_versions() -> None:
    print(f"tuneflow {tuneflow.__version__}")
    print(f"python {platform.python_version()} ({platform.platform()})")
    for name in _NAMED:
        try:
            print(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue


if __name__ == "__main__":
    sys.exit(main())
