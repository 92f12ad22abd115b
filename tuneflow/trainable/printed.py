"""Metrics in what a program prints. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tuneflow.errors import InvalidArgument

__all__ = ["DEFAULT_PATTERN", "Lines", "PrintedMetrics", "Tracebacks", "checked_pattern"]

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
DEFAULT_PATTERN = (
    rf"(?<![\w./-])(?P<name>[A-Za-z_][\w./-]*) ?= ?(?P<value>(?i:{_NUMBER}))(?!\w|\.\w)"  # and not 1.2.3 or 0x10
)
"""``loss=0.3``, ``val/acc = 1e-3``, ``loss=nan``; not ``--lr=0.1``, which is an argument."""

_LONGEST_LINE = 1 << 20
_RANK = re.compile(r"^\[\w+\]: ?")
"""What torch puts before the lines of a traceback."""
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def checked_pattern(pattern: str) -> str:
    r"""A pattern that says which number belongs to which metric.

    Args:
        pattern: a regular expression with the groups ``name`` and ``value``, or with one group per metric, named
            after it: ``r"loss: (?P<loss>\S+)"``.

    Raises:
        InvalidArgument: it is no regular expression or has no named groups.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise InvalidArgument(f"metrics={pattern!r} is no regular expression: {error}") from None
    if not compiled.groupindex:
        raise InvalidArgument(
            f"metrics={pattern!r} has no named groups; use (?P<name>...) and (?P<value>...), or one group named after "
            f"each metric: (?P<loss>\\S+)"
        )
    if ("name" in compiled.groupindex) != ("value" in compiled.groupindex) and len(compiled.groupindex) > 1:
        raise InvalidArgument(
            f"metrics={pattern!r} has only one of the groups 'name' and 'value'; use both, or one group named after "
            f"each metric"
        )
    return pattern


class Lines:
    r"""Cuts text that comes in pieces into lines. What a progress bar writes over with "\r" is one line.

    Example:
        >>> lines = Lines()
        >>> lines.feed("a=1\nb"), lines.feed("=2\n"), lines.rest()
        (['a=1'], ['b=2'], [])
    """

    def __init__(self) -> None:
        self._begun = ""

    def feed(self, text: str) -> list[str]:
        """The lines that ``text`` completes, without their ends."""
        *whole, self._begun = (self._begun + text).split("\n")
        self._begun = self._begun[-_LONGEST_LINE:]
        return whole

    def rest(self) -> list[str]:
        """A last line that nothing ended."""
        begun, self._begun = self._begun, ""
        return [begun] if begun else []


class Tracebacks:
    """Knows the lines of Python's tracebacks, which quote code that may look like metrics.

    Example:
        >>> tracebacks = Tracebacks()
        >>> lines = ["Traceback (most recent call last):", "    loss=1", "KeyError: 'loss'", "loss=2"]
        >>> [line for line in lines if not tracebacks.hide(line)]
        ['loss=2']
    """

    def __init__(self) -> None:
        self._is_inside = False

    def hide(self, line: str) -> bool:
        """Whether a line belongs to one."""
        text = _RANK.sub("", line)
        if text.startswith("Traceback (most recent call last)"):
            self._is_inside = True
            return True
        was_inside = self._is_inside
        self._is_inside = was_inside and (not text.strip() or text[0].isspace())
        return was_inside


class PrintedMetrics:
    """Turns lines into results.

    A line's values join those of the lines before it until the required metrics are there: then they are a result.
    So other lines that look like metrics do no harm.

    Args:
        pattern: see ``checked_pattern``.
        required: metrics that a result must hold; without any, every line with a match is a result.

    Example:
        >>> printed = PrintedMetrics(DEFAULT_PATTERN, {"loss"})
        >>> printed.take("lr=0.1"), printed.take("epoch 3: loss=0.25, acc=0.9")
        (None, {'lr': 0.1, 'loss': 0.25, 'acc': 0.9})
    """

    def __init__(self, pattern: str, required: Collection[str]) -> None:
        self._pattern = re.compile(pattern)
        self._is_pair = {"name", "value"} <= self._pattern.groupindex.keys()
        self._required = frozenset(required)
        self._waiting: dict[str, float] = {}
        self.seen: set[str] = set()
        """Names of all metrics that were printed."""

    def take(self, line: str) -> Mapping[str, float] | None:
        """The result that a line completes, or None. A metric that it holds twice counts as it stands last.

        Values may be NaN or infinite. What is no number is passed over.
        """
        found = {}
        for match in self._pattern.finditer(_COLOURS.sub("", line)):
            pairs = {match["name"]: match["value"]} if self._is_pair else match.groupdict()
            for name, text in pairs.items():
                try:
                    found[name] = float(text)
                except (TypeError, ValueError):
                    continue
        if not found:
            return None
        self.seen |= found.keys()
        self._waiting |= found
        if not self._required <= self._waiting.keys():
            return None
        result, self._waiting = self._waiting, {}
        return result
