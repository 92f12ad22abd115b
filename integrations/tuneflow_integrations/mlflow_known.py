"""What a spool has of each run, so that a resumed study adds what is missing and nothing twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tuneflow_integrations.spool import Spool

__all__ = ["Known", "RunLog"]

_ENDS = ("COMPLETE", "PRUNED", "FAIL")


@dataclass(slots=True)
class RunLog:
    """What the spool has of one trial.

    Attributes:
        params: names of the parameters in it.
        texts: tags made from texts in results, as they were last.
        config: the configuration whose parameters are in it, by identity.
        step: of the last metrics; -1 before the first.
        is_ended: whether its end is in it.
        hp: hyperparameters that changed on the way, as they were last, by the metric or tag that holds them.
    """

    params: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    config: Any = None
    step: int = -1
    is_ended: bool = False
    hp: dict[str, Any] = field(default_factory=dict)


class Known:
    """What a spool has of one study.

    Args:
        spool: read once, from its first entry on.

    Attributes:
        runs: by the trial's number, as text.
        best: the best value of a complete trial so far.
        best_checkpoint: says which checkpoint was uploaded as the best.
    """

    def __init__(self, spool: Spool) -> None:
        self.runs: dict[str, RunLog] = {}
        self.best: float | None = None
        self.best_checkpoint = ""
        for entry in spool.all_entries():
            self._read(entry)

    def _read(self, entry: dict[str, Any]) -> None:
        name = str(entry.get("known", entry.get("run")))
        metrics, tags = entry.get("metrics", {}), entry.get("tags", {})
        if not name:
            best = [value for key, value in metrics.items() if key.startswith("best_")]
            self.best = entry.get("best", best[0] if best else self.best)
            self.best_checkpoint = tags.get("tuneflow.best_checkpoint", entry.get("checkpoint", self.best_checkpoint))
            return
        log = self.runs.setdefault(name, RunLog())
        own = {key: value for key, value in {**metrics, **tags}.items() if key.startswith("hp/")}
        log.hp.update({**own, **entry.get("hp", {})})
        if "known" in entry or len(own) < len(metrics):
            log.step = max(log.step, entry.get("step", -1))
        log.params.update(entry.get("params", ()))
        if "status" in entry:
            log.is_ended = tags.get("tuneflow.state") in _ENDS
        log.is_ended = entry.get("is_ended", log.is_ended)

    def summary(self) -> list[dict[str, Any]]:
        """Entries that say the same and ask for nothing to be sent."""
        runs = [
            {"known": name, "step": log.step, "params": sorted(log.params), "hp": log.hp, "is_ended": log.is_ended}
            for name, log in self.runs.items()
        ]
        return [{"known": "", "best": self.best, "checkpoint": self.best_checkpoint}, *runs]
