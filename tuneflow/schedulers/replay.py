"""The scheduler that reads a schedule from a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tuneflow.errors import InvalidArgument
from tuneflow.pruners import PBTReplay
from tuneflow.schedulers.base import TrialScheduler, check_time_attr

__all__ = ["PopulationBasedTrainingReplay"]


class PopulationBasedTrainingReplay(TrialScheduler):
    """Trains one trial through the configurations of a PBT trial: ``tuneflow.pruners.PBTReplay``.

    Args:
        policy_file: a ``pbt_policy.json``: a JSON list of ``[step, config, donor]``, or one of them per line.
        time_attr: what the steps in it count.

    Attributes:
        schedule: the entries, as ``(step, config, donor)``.

    Raises:
        InvalidArgument: there is no such file, or it holds no schedule.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pbt_policy.json")
        ...     _ = path.write_text('[[0, {"lr": 0.1}, null], [10, {"lr": 0.08}, 3]]')
        ...     replay = PopulationBasedTrainingReplay(path)
        >>> replay.initial_config  # start with it: tune.run(train, replay.initial_config, scheduler=replay, ...)
        {'lr': 0.1}
    """

    def __init__(self, policy_file: str | os.PathLike[str], *, time_attr: str = "training_iteration") -> None:
        check_time_attr(time_attr)
        self.time_attr = time_attr
        self.policy_file = Path(policy_file).expanduser()
        try:
            pruner = PBTReplay(_read_policy(self.policy_file))
        except InvalidArgument as error:
            raise InvalidArgument(f"policy_file={str(policy_file)!r}: {error}") from None
        self.schedule = pruner.schedule
        self.initial_config = pruner.initial_config

    def __repr__(self) -> str:
        return f"PopulationBasedTrainingReplay({str(self.policy_file)!r})"

    def to_pruner(self, num_samples: int | None = None) -> PBTReplay:
        if num_samples not in (None, -1, 1):
            raise InvalidArgument(f"num_samples={num_samples} must be 1: {self!r} trains one trial")
        return PBTReplay(self.schedule)


def _read_policy(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(f"cannot be read ({error.strerror}); pass the path of a pbt_policy.json") from None
    try:
        whole = json.loads(text)
    except ValueError:
        return [_entry(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    is_one_line = isinstance(whole, list) and whole and not isinstance(whole[0], list | dict)
    return [whole] if is_one_line or (isinstance(whole, dict) and "schedule" not in whole) else whole


def _entry(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InvalidArgument(f"line {number} is no JSON ({error})") from None
