"""The HTML report: one file that needs neither network nor scripts."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tuneflow.analysis.curves import Line, draw
from tuneflow.analysis.frames import flat
from tuneflow.analysis.records import TrialRecord, lookup, number
from tuneflow.analysis.scopes import Mode, is_better
from tuneflow.errors import UsageError

__all__ = ["Readable", "page"]

_MAX_ROWS, _MAX_CURVES = 1000, 60

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; }
h1, h2 { font-weight: 600; } h2 { margin-top: 2em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2em .7em; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
.wide { overflow-x: auto; } .best { background: #eaf3ff; } .note { color: #666; }
svg { width: 100%; max-width: 56em; font-size: 11px; } svg text { fill: #555; }
svg .grid { stroke: #e5e5e5; } polyline { fill: none; } polyline.weak { stroke: #9ab; stroke-opacity: .55; }
polyline.strong { stroke: #0b62c4; stroke-width: 2; } circle.weak { fill: #9ab; } circle.strong { fill: #0b62c4; }
"""


class Readable(Protocol):
    """What the report needs of an ``ExperimentAnalysis``."""

    folder: Path
    experiment: dict[str, Any]
    trials: list[TrialRecord]

    @property
    def metrics(self) -> dict[str, Mode]: ...

    def stats(self) -> dict[str, Any]: ...

    def get_best_trial(self, metric: str | None = None, mode: str | None = None) -> TrialRecord: ...

    def get_best_config(self, metric: str | None = None, mode: str | None = None) -> dict[str, Any]: ...


def page(analysis: Readable) -> str:
    """The report of an experiment as HTML text."""
    name = str(analysis.experiment.get("name") or analysis.folder.name)
    parts = [f"<h1>{_text(name)}</h1>", _summary(analysis)]
    for metric, mode in analysis.metrics.items():
        parts.append(_metric_section(analysis, metric, mode))
    if not analysis.metrics:
        parts.append('<p class="note">The experiment has no metric, so no trial is best.</p>')
    parts += [_failures(analysis.trials), _trials_section(analysis)]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(name)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(part for part in parts if part) + "\n</body></html>\n"
    )


def _summary(analysis: Readable) -> str:
    stats = analysis.stats()
    rows = {
        "Trials": f"{stats['n_trials']} ({', '.join(f'{count} {state}' for state, count in stats['states'].items())})",
        "Metric": ", ".join(f"{metric} ({mode})" for metric, mode in analysis.metrics.items()) or "none",
        "Started": stats["start_time"],
        "Last trial ended": stats["end_time"],
        "Training time of all trials": f"{stats['time_total_s']:.1f} s",
        "Seed": analysis.experiment.get("seed"),
        "Folder": str(analysis.folder),
    }
    return _table(("", ""), [(key, value) for key, value in rows.items() if value is not None])


def _metric_section(analysis: Readable, metric: str, mode: Mode) -> str:
    try:
        best = analysis.get_best_trial(metric, mode)
    except UsageError as error:
        return f'<h2>{_text(metric)}</h2><p class="note">{_text(error)}</p>'
    config = analysis.get_best_config(metric, mode)
    return "\n".join(
        [
            f"<h2>{_text(metric)}</h2>",
            f"<p>Best: trial {best.trial_id}, {_text(metric)} = {_value(best.last_value(metric))}</p>",
            _table(("parameter", "value"), list(flat(config).items())),
            draw(_history(analysis.trials, metric, mode), x_label="trial", y_label=metric),
            _curves(analysis.trials, best, metric),
        ]
    )


def _history(trials: Sequence[TrialRecord], metric: str, mode: Mode) -> list[Line]:
    """The last value of each trial, and the best so far."""
    values = [(float(trial.number), trial.last_value(metric)) for trial in trials]
    best: float | None = None
    front = []
    for at, value in values:
        if is_better(value, best, mode):
            best = value
        if best is not None:
            front.append((at, best))
    return [
        Line(points=values, label="last value of a trial", is_dots=True),
        Line(points=front, label="best so far", is_strong=True),
    ]


def _curves(trials: Sequence[TrialRecord], best: TrialRecord, metric: str) -> str:
    chosen = [best, *[trial for trial in trials if trial is not best][: _MAX_CURVES - 1]]
    lines = []
    for trial in chosen:
        points = [(float(step), number(lookup(result, metric))) for step, result in trial.steps()]
        real = [(step, value) for step, value in points if value is not None]
        if len(real) > 1:
            lines.append(Line(points=real, label=f"trial {trial.trial_id}", is_strong=trial is best))
    drawing = draw(lines, x_label="iteration", y_label=metric)
    if drawing and len(trials) > len(chosen):
        drawing += f'<p class="note">Curves of {len(chosen)} of {len(trials)} trials.</p>'
    return drawing


def _failures(trials: Iterable[TrialRecord]) -> str:
    failed = [trial for trial in trials if trial.state == "FAIL"][:_MAX_ROWS]
    if not failed:
        return ""
    rows = [(trial.trial_id, str(trial.error).splitlines()[0] if str(trial.error) else "") for trial in failed]
    return f"<h2>Failed trials</h2>{_table(('trial', 'error'), rows)}"


def _trials_section(analysis: Readable) -> str:
    trials = analysis.trials[:_MAX_ROWS]
    configs = [flat(trial.config) for trial in trials]
    names = list(dict.fromkeys(name for config in configs for name in config))
    metrics = list(analysis.metrics)
    header = ["trial", "state", *names, *metrics, "iterations", "time (s)"]
    rows = []
    for trial, config in zip(trials, configs, strict=True):
        result = trial.last_result
        rows.append(
            [
                trial.trial_id,
                trial.state,
                *(config.get(name) for name in names),
                *(trial.last_value(metric) for metric in metrics),
                result.get("training_iteration"),
                result.get("time_total_s"),
            ]
        )
    note = f'<p class="note">The first {_MAX_ROWS}.</p>' if len(analysis.trials) > len(trials) else ""
    return f"<h2>Trials</h2>{_table(header, rows)}{note}"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in header) if any(header) else ""
    body = "\n".join(f"<tr>{''.join(f'<td>{_value(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"{value:.6g}"
    if isinstance(value, Mapping):
        return _text(dict(value))
    return _text(value)


def _text(value: Any) -> str:
    return html.escape(str(value))
