"""Metrics in what a program prints. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tuneflow.errors import InvalidArgument
from tuneflow.plain import MASK

__all__ = ["DEFAULT_PATTERN", "Lines", "Masked", "PrintedMetrics", "Tracebacks", "checked_pattern"]

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

    Of a line that does not end only the last part is kept, a million characters at least.

    Example:
        >>> lines = Lines()
        >>> lines.feed("a=1\nb"), lines.feed("=2\n"), lines.rest()
        (['a=1'], ['b=2'], [])
    """

    def __init__(self) -> None:
        self._begun: list[str] = []  # in pieces: a progress bar may add to one line a million times
        self._n_begun = 0

    def feed(self, text: str) -> list[str]:
        """The lines that ``text`` completes, without their ends."""
        first, *others = text.split("\n")
        self._begin(first)
        if not others:
            return []
        whole = [self._taken(), *others[:-1]]
        self._begin(others[-1])
        return whole

    def rest(self) -> list[str]:
        """A last line that nothing ended."""
        begun = self._taken()
        return [begun] if begun else []

    def _begin(self, text: str) -> None:
        self._begun.append(text)
        self._n_begun += len(text)
        if self._n_begun > 2 * _LONGEST_LINE:
            self._begun = ["".join(self._begun)[-_LONGEST_LINE:]]
            self._n_begun = _LONGEST_LINE

    def _taken(self) -> str:
        line = "".join(self._begun)
        self._begun, self._n_begun = [], 0
        return line


class Masked:
    """Masks a secret in text that comes in pieces, as of a program that prints its environment.

    Example:
        >>> masked = Masked("sesame")
        >>> masked.feed("open ses"), masked.feed("ame! se"), masked.rest()
        ('open ', '********! ', 'se')
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._held = ""

    def feed(self, text: str) -> str:
        """The text, but for an end with which the secret may begin."""
        text = (self._held + text).replace(self._secret, MASK)
        most = min(len(self._secret) - 1, len(text))
        n_held = next((n for n in range(most, 0, -1) if self._secret.startswith(text[-n:])), 0)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]

    def rest(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return held


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
        r"""The result that a line completes, or None. A metric that it holds twice counts as it stands last.

        What was written over with "\r" is searched by itself, so that "^" and "$" match there. Values may be NaN or
        infinite. What is no number is passed over.
        """
        found = {}
        for state in _COLOURS.sub("", line).split("\r"):
            for match in self._pattern.finditer(state):
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
