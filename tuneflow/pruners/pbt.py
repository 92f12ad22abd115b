"""Population based training: the worst members become changed copies of the best while they train."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow.arguments import check_real
from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.pruners.base import CONTINUE, PAUSE, Continue, Decision, Exploit, Pause, Pruner
from tuneflow.pruners.cohort import SyncPopulation
from tuneflow.pruners.configs import copy_config
from tuneflow.pruners.explore import CustomExplore, Explorer
from tuneflow.pruners.population import AsyncPopulation, Member, Population
from tuneflow.pruners.randomness import DecisionStreams

if TYPE_CHECKING:
    import numpy as np
    from optuna.trial import TrialState

    from tuneflow.space import Space

__all__ = ["PBT"]

_SAVE = Continue(save=True)


class PBT(Pruner):
    """Population based training (Jaderberg et al. 2017, arXiv 1711.09846).

    A member is *at its interval* at its first report at or past each multiple of ``perturbation_interval`` (from
    ``burn_in`` on; nothing happens before). There its value becomes its score, and the population is ranked by score,
    equal ones by number, infinite ones last. Of n members with a score, ``max(1, min(n // 2, ceil(n * quantile)))``
    are the top and as many the bottom. A member of the bottom becomes a copy of a random member of the top, with an
    explored configuration: ``Exploit``. A member of the top is answered ``Continue(save=True)`` and can be copied from
    then on. What a member may be copied from, and what becomes of a score after an exploit, is written in
    ``tuneflow/pruners/population.py``.

    With ``population_size`` every so many trials, in the order in which they start, form a population of their own,
    which needs fewer slots than it has members: members that have not started yet start first, at its interval a
    member pauses while others of its population have not started or are paused, and the one with the fewest steps goes
    on first. It decides when it goes on. A population is not filled up again when a member ends; trials beyond the
    size begin the next population when no member of an earlier one waits for a slot. Where no more trials will come,
    missing members are not waited for.

    Without ``population_size`` all trials are one population, which never pauses.

    ``synchronous``: all members pause at the interval, and all decide when those that live have arrived.

    A member that decides at its own interval is compared with what the others had at theirs, which may be earlier
    steps. Where values fall steadily and every member has a slot, those that come late in a round are replaced and
    those that come early hardly ever. And what is copied may be an interval ahead: a member counts its own steps on,
    so that the weights of an asynchronous population may have more training behind them than their members have steps.
    ``synchronous`` compares and copies at equal steps.

    Randomness derives from (seed, trial, step). The cost of a decision is that of two or three searches in a sorted
    collection, O(log n) comparisons.

    Args:
        mutations: what is changed, by name, nested or flat (``"optimizer/lr"``): a domain, a list of values, or a
            function ``() -> value`` or ``(rng) -> value``. May be empty where ``custom_explore`` is given.
        population_size: members of a population, >= 1.
        perturbation_interval: steps from one decision of a member to its next, >= 1.
        quantile_fraction: share of the population that is replaced, in [0, 0.5]; 0 replaces nobody.
        resample_probability: chance that an entry is drawn anew instead of perturbed, in [0, 1].
        perturbation_factors: what numbers are multiplied by, each above zero.
        burn_in: step before which nothing happens, >= 0.
        synchronous: whether the population decides together; needs ``population_size``.
        custom_explore: ``(config, rng) -> config``, applied last.

    Raises:
        InvalidArgument: an argument out of its range; from ``bind``, a mutation of an entry that the space lacks.
        InvalidArgumentType: a mutation that is none of the kinds above.

    Example:
        >>> import numpy
        >>> pbt = PBT({"lr": [0.1, 0.01, 0.001]}, perturbation_interval=5, resample_probability=0.0)
        >>> pbt.bind(None, numpy.random.default_rng(0))
        >>> for trial, lr in enumerate([0.1, 0.01]):
        ...     pbt.on_start(trial, {"lr": lr})
        >>> pbt.on_report(0, 5, 0.3, checkpoint=True)
        Continue(save=True)
        >>> pbt.on_report(1, 5, 0.7, checkpoint=True)
        Exploit(donor=0, config={'lr': 0.01}, checkpoint=None)
    """

    needs_checkpoints: ClassVar[bool] = True

    def __init__(
        self,
        mutations: Mapping[str, Any],
        population_size: int | None = None,
        perturbation_interval: int = 5,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: Sequence[float] = (1.2, 0.8),
        burn_in: int = 0,
        synchronous: bool = False,
        custom_explore: CustomExplore | None = None,
    ) -> None:
        self._explorer = Explorer(mutations, resample_probability, perturbation_factors, custom_explore)
        self._streams: DecisionStreams | None = None
        self._set_population(population_size, perturbation_interval, quantile_fraction, burn_in, synchronous)

    def _set_population(
        self, size: int | None, interval: int, fraction: float, burn_in: int, synchronous: bool
    ) -> None:
        if size is not None:
            check_real("population_size", size)
        check_real("perturbation_interval", interval)
        check_real("quantile_fraction", fraction)
        check_real("burn_in", burn_in)
        if size is not None and (not math.isfinite(size) or size != int(size) or size < 1):
            raise InvalidArgument(f"population_size={size!r} must be a whole number >= 1, or None")
        if not math.isfinite(interval) or interval != int(interval) or interval < 1:
            raise InvalidArgument(
                f"perturbation_interval={interval!r} must be a whole number of steps >= 1 (not of seconds)"
            )
        if not 0 <= fraction <= 0.5:
            raise InvalidArgument(f"quantile_fraction={fraction!r} must lie in [0, 0.5]")
        if not 0 <= burn_in < math.inf:
            raise InvalidArgument(f"burn_in={burn_in!r} must be >= 0 and finite")
        if synchronous and size is None:
            raise InvalidArgument("synchronous=True needs population_size: how many members are waited for")
        self._size = None if size is None else int(size)
        self._interval = int(interval)
        self._fraction = fraction
        self._synchronous = synchronous
        self._burn_in = burn_in
        # The first multiple of the interval that is not before the burn-in.
        self._first_due = max(1, int(-(-burn_in // self._interval))) * self._interval
        self._n_started = 0
        self._members: dict[int, Member] = {}
        self._populations: dict[int, Population] = {}

    @property
    def population_size(self) -> int | None:
        """Members of a population; None where all trials are one. Can be set before the first trial."""
        return self._size

    @population_size.setter
    def population_size(self, size: int | None) -> None:
        if self._members:
            raise UsageError("population_size cannot change once trials have started")
        self._set_population(size, self._interval, self._fraction, self._burn_in, self._synchronous)

    def bind(self, space: Space | None, rng: np.random.Generator) -> None:
        self._streams = DecisionStreams(int(rng.integers(2**63)))
        if space is not None:
            self._bind_space(space)

    def _bind_space(self, space: Space) -> None:
        self._explorer = self._explorer.bound_to(space)

    def on_start(self, trial: int, config: Mapping[str, Any]) -> None:
        number = 0 if self._size is None else self._n_started // self._size
        self._n_started += 1
        population = self._populations.get(number)
        if population is None:
            population = self._populations[number] = self._new_population()
        self._members[trial] = population.start(trial, copy_config(config), self._first_due)

    def _new_population(self) -> Population:
        if self._synchronous and self._size is not None:
            return SyncPopulation(self._size, self._fraction, self._interval)
        return AsyncPopulation(self._size, self._fraction)

    def on_report(
        self, trial: int, step: int, value: float, checkpoint: bool, decided: Decision | None = None
    ) -> Decision:
        member = self._members.get(trial)
        if member is None:  # a straggler's report after its end
            return CONTINUE if decided is None else decided
        if step < member.due and decided is None:
            return CONTINUE
        population = member.population
        if member.is_paused and (step > member.step or decided != PAUSE):
            population.wake(member)  # folding: it reported, so it had gone on
        is_due = step >= member.due
        if is_due:
            self._observe(member, step, value)
            population.arrive(member, step, value)
            member.due = (step // self._interval + 1) * self._interval
        decision = decided
        if decision is None:
            decision = PAUSE if population.has_to_pause else self._decide(member)
        self._apply(member, decision, checkpoint and member.step == step)
        return decision

    def _decide(self, member: Member) -> Decision:
        if member.score is None:  # folding a pause from before its first interval
            return CONTINUE
        population = member.population
        is_top, n_donors = population.stand(member)
        if n_donors == 0:
            return _SAVE if is_top else CONTINUE
        rng = self._rng(member.trial, member.step)
        donor = population.donor(int(rng.random() * n_donors))
        return Exploit(donor, self._explore(self._members[donor].config, member, rng))

    def _apply(self, member: Member, decision: Decision, has_checkpoint: bool) -> None:
        population = member.population
        if isinstance(decision, Exploit):
            population.exploit(member, copy_config(decision.config))
        elif isinstance(decision, Pause):
            population.pause(member)
            if has_checkpoint:
                population.save(member)
        elif isinstance(decision, Continue) and decision.save and has_checkpoint:
            population.save(member)

    def _rng(self, trial: int, step: int) -> np.random.Generator:
        if self._streams is None:
            raise UsageError("bind(space, rng) comes before the first report; a Study does that")
        return self._streams(trial, step)

    def _observe(self, member: Member, step: int, value: float) -> None:
        """A member is at its interval, with the configuration that it has had since the one before."""

    def _explore(self, config: Mapping[str, Any], member: Member, rng: np.random.Generator) -> dict[str, Any]:
        """The configuration with which ``member`` goes on from a donor that has ``config``."""
        return self._explorer(config, rng)

    def on_resume(self, trial: int) -> Decision:
        member = self._members.get(trial)
        if member is None:
            return CONTINUE
        decision = self._decide(member)
        member.population.wake(member)
        if not isinstance(decision, Exploit):
            return CONTINUE  # the checkpoint of its pause is its latest
        self._apply(member, decision, False)
        return decision

    def on_end(self, trial: int, state: TrialState) -> None:
        member = self._members.pop(trial, None)
        if member is not None:
            member.population.end(member)
            if member.population.is_over:
                self._populations = {n: p for n, p in self._populations.items() if not p.is_over}

    def next_resume(self, more: bool = True) -> int | None:
        for population in self._populations.values():
            trial = population.next_waiting(more)
            if trial is not None:
                return trial
        return None

    def state_dict(self) -> dict[str, Any]:
        return {
            "entropy": None if self._streams is None else self._streams.seed,
            "n_started": self._n_started,
            "populations": [[number, population.state_dict()] for number, population in self._populations.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._streams = None if state["entropy"] is None else DecisionStreams(state["entropy"])
        self._n_started = state["n_started"]
        self._members, self._populations = {}, {}
        for number, inner in state["populations"]:
            population = self._populations[number] = self._new_population()
            population.load_state_dict(inner)
            self._members.update(population.members)
