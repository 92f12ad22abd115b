"""Tune's ``== Status ==`` block as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneflow.callbacks.progress import Progress, TrialRow
from tuneflow.callbacks.wording import config_cells, config_text, duration_text, memory_text, value_text

__all__ = ["ascii_table", "cells", "count_text", "status_block", "summary_lines"]

_MAX_PARAMETERS = 12


def status_block(progress: Progress) -> str:
    """The whole block, no control characters in it, a line end after each line."""
    lines = ["== Status =="]
    memory = memory_text()
    if memory is not None:
        lines.append(f"Memory usage on this node: {memory}")
    lines += summary_lines(progress)
    header, rows = cells(progress)
    if rows:
        lines += ascii_table(header, rows)
    n_hidden = progress.n_trials - len(rows)
    if n_hidden > 0:
        lines.append(f"... {n_hidden} more trials not shown")
    return "\n".join(lines) + "\n"


def summary_lines(progress: Progress) -> list[str]:
    """What the table does not say: scheduler, resources, folder, counts, best trial, times."""
    run = progress.run
    name = (
        "FIFO" if run.scheduler is None else run.scheduler if isinstance(run.scheduler, str) else _name(run.scheduler)
    )
    lines = [f"Using {name} scheduling algorithm."]
    if run.resources is not None and run.total is not None:
        n_running = progress.counts.get("RUNNING", 0)
        shares = [
            f"{_amount(run.resources, kind) * n_running:g}/{_amount(run.total, kind):g}" for kind in ("cpu", "gpu")
        ]
        lines.append(f"Resources requested: {shares[0]} CPUs, {shares[1]} GPUs")
    if run.folder is not None:
        lines.append(f"Result logdir: {run.folder}")
    lines.append(f"Number of trials: {count_text(progress)}")
    if progress.ended:
        states = (("COMPLETE", "complete"), ("PRUNED", "pruned"), ("FAIL", "failed"))
        ended = [f"{progress.ended[state]} {word}" for state, word in states if progress.ended.get(state)]
        lines.append(f"Ended: {', '.join(ended)}")
    if progress.best is not None:
        best = progress.best
        lines.append(
            f"Best so far: trial {best.trial_id} with {run.metric or 'value'}={value_text(best.value)} and "
            f"{config_text(best.config, constants=run.constants)}"
        )
    times = f"Elapsed: {duration_text(progress.elapsed_s)}"
    if progress.left_s is not None:
        times += f", about {duration_text(progress.left_s)} left"
    lines.append(times)
    return lines


def count_text(progress: Progress) -> str:
    """``7/10 (2 RUNNING, 5 TERMINATED)``."""
    wanted = progress.run.n_trials
    text = str(progress.n_trials) if wanted in (None, progress.n_trials) else f"{progress.n_trials}/{wanted}"
    states = ", ".join(f"{count} {status}" for status, count in progress.counts.items())
    return f"{text} ({states})" if states else text


def cells(progress: Progress) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table; at most 12 parameters get a column, and no constant does."""
    configs = [config_cells(row.config) for row in progress.rows]
    constants = progress.run.constants
    varying = (path for config in configs for path, text in config.items() if constants.get(path) != text)
    parameters = list(dict.fromkeys(varying))[:_MAX_PARAMETERS]
    metric = progress.run.metric or "value"
    header = ["Trial name", "status", "loc", *parameters, metric, "total time (s)", "iter"]
    rows = [
        [
            f"{progress.run.name}_{row.trial_id}",
            row.status,
            _location(row),
            *(config.get(path, "") for path in parameters),
            value_text(row.value),
            value_text(float(progress.time_of(row))),
            value_text(row.iteration),
        ]
        for row, config in zip(progress.rows, configs, strict=True)
    ]
    return header, rows


def ascii_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table drawn with ``+-|``; columns of numbers are set to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, (name, *column))) for name, column in zip(header, columns, strict=True)]
    is_number = [all(_is_number(cell) for cell in column if cell) for column in columns]

    def line(entries: Sequence[str]) -> str:
        padded = [
            entry.rjust(width) if right else entry.ljust(width)
            for entry, width, right in zip(entries, widths, is_number, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = "+".join("-" * (width + 2) for width in widths)
    return [f"+{rule}+", line(header), f"|{rule}|", *map(line, rows), f"+{rule}+"]


def _location(row: TrialRow) -> str:
    host, pid = row.result.get("hostname"), row.result.get("pid")
    if row.status != "RUNNING" or pid is None:
        return ""
    return value_text(pid if host is None else f"{host}:{pid}", max_chars=32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _amount(resources: Any, kind: str) -> float:
    if isinstance(resources, Mapping):
        return float(resources.get(kind, 0.0))
    return float(getattr(resources, kind, 0.0))


def _name(scheduler: Any) -> str:
    return getattr(scheduler, "__name__", type(scheduler).__name__)
