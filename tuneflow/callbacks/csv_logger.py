"""``progress.csv`` of each trial."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tuneflow.callbacks.files import replace_file
from tuneflow.callbacks.flattening import flatten
from tuneflow.callbacks.line_logger import LineLogger, TrialLog
from tuneflow.callbacks.recorded import missing_results
from tuneflow.plain import is_secret, plain

__all__ = ["CsvLogger"]

_SCALARS = frozenset({float, int, str, bool, type(None)})


class CsvLog(TrialLog):
    """A trial's ``progress.csv``.

    Attributes:
        columns: the header, in order; empty before the first row.
        known: the same as a set, without those whose values must not be written.
    """

    __slots__ = ("columns", "known")

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.columns: list[str] = []
        self.known: set[str] = set()

    def set_columns(self, columns: list[str]) -> None:
        self.columns = columns
        self.known = {column for column in columns if not is_secret(column.rpartition("/")[2])}


class CsvLogger(LineLogger[CsvLog]):
    """Writes ``progress.csv`` into each trial's folder: a row per report, nested keys joined by ``/``.

    Columns stand in the order of their first appearance. A key that comes up later becomes a new last column: the file
    is replaced by one with the wider header, and earlier rows are empty there, as are rows that lack a key. Lists are
    JSON texts, NaN is ``nan``, infinities are ``inf`` and ``-inf``, as pandas reads them.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=0)
        >>> study.add_callback(CsvLogger())
        >>> trial = study.ask()
        >>> _ = trial.report({"loss": 0.5}, step=1)
        >>> _ = trial.report({"loss": 0.25, "val": {"acc": 0.9}}, step=2)
        >>> print((trial.dir / "progress.csv").read_text(), end="")
        loss,training_iteration,val/acc
        0.5,1,
        0.25,2,0.9
    """

    file_name: ClassVar[str] = "progress.csv"

    def _new_log(self, path: str) -> CsvLog:
        return CsvLog(path)

    def _write(self, log: CsvLog, result: dict[str, Any]) -> None:
        if log.known.issuperset(result) and _SCALARS.issuperset(map(type, result.values())):
            self._pool.append(log.path, _row(map(result.get, log.columns)))
            return
        flat = _cells(result)
        start = b""
        missing = [column for column in flat if column not in log.columns]
        if missing and log.columns:
            self._widen(log, missing)
        elif missing:
            log.set_columns(missing)
            start = _row(missing)
        self._pool.append(log.path, start + _row(map(flat.get, log.columns)))

    def _widen(self, log: CsvLog, missing: list[str]) -> None:
        columns = log.columns + missing
        filler = b"," * len(missing)
        rows = _rows(Path(log.path).read_bytes())[1:]
        self._pool.close(log.path)
        replace_file(log.path, _row(columns) + b"".join(row + filler + b"\n" for row in rows))
        log.set_columns(columns)

    def _mend(self, log: CsvLog, recorded: list[dict[str, Any]] | None, result: dict[str, Any] | None) -> None:
        try:
            found = Path(log.path).read_bytes()
        except FileNotFoundError:
            found = b""
        rows = _rows(found)
        columns = _parse(rows.pop(0)) if rows else []
        place = columns.index("training_iteration") if "training_iteration" in columns else len(columns)
        missing: list[bytes] = []
        if recorded is not None:
            rows = rows[: len(recorded)]
            lost = [_cells(entry) for entry in missing_results(recorded, [_iteration(row, place) for row in rows])]
            new = [column for column in (lost[0] if lost else ()) if column not in columns]
            rows = [row + b"," * len(new) for row in rows]
            columns += new
            missing = [_row(map(entry.get, columns))[:-1] for entry in lost]
        elif result is not None:
            rows = [row for row in rows if (_iteration(row, place) or 0) < result["training_iteration"]]
        whole = b"".join(row + b"\n" for row in [_row(columns)[:-1], *rows, *missing]) if columns else b""
        if whole != found:
            replace_file(log.path, whole)
        log.set_columns(columns)


class _Handback:
    """Where ``csv.writer`` writes to: it returns what ``write`` returns."""

    def write(self, text: str) -> str:
        return text


# Ending rows in \r\n has both characters quoted inside a cell.
_format = csv.writer(_Handback(), lineterminator="\r\n").writerow


def _row(cells: Iterable[Any]) -> bytes:
    text: str = _format(cells)
    return text[:-2].encode("utf-8", "backslashreplace") + b"\n"


def _cells(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as flat, printable cells."""
    flat = flatten(plain(result))
    return {key: json.dumps(value) if isinstance(value, list) else value for key, value in flat.items()}


def _rows(data: bytes) -> list[bytes]:
    """The whole rows of a file, without their line ends; a torn last one is left out.

    They are told apart by their quotes alone: a row with a huge cell is more than ``csv.reader`` takes.
    """
    rows: list[bytes] = []
    pending: list[bytes] = []
    is_quoted = False
    for piece in data.split(b"\n")[:-1]:
        pending.append(piece)
        is_quoted ^= piece.count(b'"') % 2 == 1
        if not is_quoted:
            rows.append(b"\n".join(pending))
            pending = []
    return rows


def _parse(row: bytes) -> list[str]:
    return next(csv.reader([row.decode("utf-8", "replace")]))


def _iteration(row: bytes, place: int) -> float | None:
    """The iteration of a row; None where it has none."""
    try:
        return float(_parse(row)[place])
    except (IndexError, ValueError):
        return None
