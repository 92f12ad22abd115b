"""The table that keeps itself up to date on a terminal, by rich."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, TextIO

from tuneflow.callbacks.status_block import cells, summary_lines

if TYPE_CHECKING:
    from tuneflow.callbacks.progress import Progress

__all__ = ["LiveView"]

_COLOURS = {"RUNNING": "cyan", "PAUSED": "yellow", "PENDING": "yellow", "TERMINATED": "green", "ERROR": "red"}


class LiveView:
    """A part of the terminal that is drawn anew at every ``update``; what others print meanwhile goes above it.

    No thread draws: between two updates nothing happens. The cursor and the standard streams are given back by
    ``stop``, at the latest when the interpreter ends.

    Args:
        stream: the terminal.
        has_table: whether rows are shown, or the summary alone.
    """

    def __init__(self, stream: TextIO, *, has_table: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._has_table = has_table
        console = Console(file=stream, force_jupyter=False)
        is_standard = stream in (sys.stdout, sys.stderr)
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=is_standard, redirect_stderr=is_standard)
        self._finalizer = weakref.finalize(self, self._live.stop)
        self._live.start()

    def update(self, progress: Progress) -> None:
        """Draws the run as it is now; on an error the terminal is given back first."""
        try:
            self._live.update(self._drawing(progress), refresh=True)
        except BaseException:
            self.stop()
            raise

    def write(self, text: str) -> None:
        """Writes whole lines above the drawing."""
        from rich.text import Text

        self._live.console.print(Text(text.removesuffix("\n")), soft_wrap=True)

    def stop(self) -> None:
        """Leaves the last drawing where it is and gives the terminal back. May be called twice."""
        self._finalizer()

    def _drawing(self, progress: Progress) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        parts: list[Any] = [Text(line, no_wrap=False) for line in summary_lines(progress)]
        if self._has_table and progress.rows:
            header, rows = _fitting(*cells(progress), width=self._live.console.width)
            table = Table(box=None, pad_edge=False, header_style="bold")
            for name in header:
                is_needed = name in ("Trial name", "status", "iter")
                needed = max(len(name), *(len(row[header.index(name)]) for row in rows)) if is_needed else None
                table.add_column(Text(name), overflow="ellipsis", no_wrap=True, min_width=needed)
            for row in rows:
                shown = [Text(cell) for cell in row]
                shown[1].stylize(_COLOURS.get(row[1], ""))
                table.add_row(*shown)
            parts.append(table)
            n_hidden = progress.n_trials - len(rows)
            if n_hidden > 0:
                parts.append(Text(f"... {n_hidden} more trials not shown"))
        return Group(*parts)


def _fitting(header: list[str], rows: list[list[str]], *, width: int) -> tuple[list[str], list[list[str]]]:
    """Leaves out an empty location, and of the parameters those at the end that do not fit."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    keep = [index for index in range(len(header)) if index != 2 or any(row[2] for row in rows)]
    parameters = range(3, len(header) - 3)
    for index in reversed(parameters):
        if sum(widths[kept] + 2 for kept in keep) <= width:
            break
        keep.remove(index)
    return [header[index] for index in keep], [[row[index] for index in keep] for row in rows]
