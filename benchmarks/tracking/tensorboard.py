"""TensorBoard: event files, against Ray's callback. That of optuna-integration needs TensorFlow and is left out."""

from __future__ import annotations

import harness

from tracking.cost import added, bare, cost_of

MAX_REPORT_MS = 1.0


def measure(report: harness.Report, quick: bool) -> None:
    from tuneflow_integrations.tensorboard import TensorBoardLogger

    n_trials, n_reports = (3, 50) if quick else (10, 200)
    without = bare(n_trials, n_reports)
    ours = added(cost_of(lambda _: (TensorBoardLogger(),), n_trials, n_reports), without)
    ray = harness.peer("ray_tracking", "tensorboard", "", str(n_trials), str(n_reports), needs="ray")
    report.add(
        harness.at_most("TensorBoard: a report", ours.report_ms, MAX_REPORT_MS, "ms"),
        harness.against(
            "TensorBoard: a report", ours.report_ms, "Ray", None if ray is None else ray["report_ms"], 1.0, "ms"
        ),
        harness.against(
            "TensorBoard: a trial", ours.trial_ms, "Ray", None if ray is None else ray["trial_ms"], 1.0, "ms"
        ),
    )
