"""The drivers of one study: each with a sign of life in the study's storage, so that the trials of a dead one go on.

What is stored, as Optuna's system attributes:

* with the study, ``tuneflow:driver:ID``: where a driver runs, and a count that grows while it lives; or that it has
  left;
* with the study, ``tuneflow:taken:ID``: who has taken over its trials. A driver never writes that of itself, so that it
  finds out, whenever it wakes up;
* with each trial, ``tuneflow:driver``: the ID of the driver that it belongs to.

A driver is dead when it has left, when its process on this machine is gone, or when its count has not grown for
``grace_s`` by our own clock, so that machines need not agree on the time. Taking over its trials is done by one driver
at a time: the name of a study can be given only once in any storage of Optuna's, and so serves as a lock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from tuneflow.clock import Clock, SystemClock, uptime
from tuneflow.pids import is_running, start_of
from tuneflow.storage.quiet import quiet
from tuneflow.storage.view import DRIVER, WANTED

__all__ = ["DRIVER", "Drivers", "is_lock"]

_PREFIX = "tuneflow:driver:"
_TAKEN = "tuneflow:taken:"
_LOCK = "/taking over "
_INTERVAL_S = 15.0
_GRACE_S = 60.0
_LOOK_S = 5.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def is_lock(study_name: str) -> bool:
    """Whether a study is none, but the lock of a driver that takes over another one's trials."""
    return _LOCK in study_name


class Drivers:
    """One driver's part in a study, and its view of the others.

    Args:
        study: the real study.
        clock: of this machine.

    Attributes:
        id: of this driver; "" where the storage is this process's own memory, which nobody can share.
        own_ids: this id and those that it had before; see ``begin_anew``.
        has_lost: another driver has taken over this one's trials, because it seemed dead; or may have, since it left.
        has_met: another one lives, or has lived since this one was made, and perhaps gone.
    """

    def __init__(self, study: optuna.Study, clock: Clock | None = None) -> None:
        self._storage: BaseStorage = study._storage
        self._study_id = study._study_id
        self._name = study.study_name
        self._directions = study.directions
        self._clock = clock or SystemClock()
        self._is_registered = False
        self._stop = threading.Event()
        self._beats: dict[str, tuple[int, float]] = {}
        self._look_due_s = -1.0
        self._others: list[str] = []
        self._unheld: dict[str, float] = {}
        self.id = "" if isinstance(self._storage, InMemoryStorage) else secrets.token_hex(6)
        self.own_ids = {self.id}
        self._pid = os.getpid()
        self._n_beats = 0
        self._beaten_s = 0.0
        self.has_lost = False
        self.has_met = False
        self._has_left = False
        self._before: set[str] = set()
        if self.id:
            now_s = self._clock.monotonic()
            self._before = {name for name, sign in self._signs().items() if self._is_over(name, sign, now_s)}

    def _signs(self) -> dict[str, Any]:
        """What each driver has said, by its ID."""
        found = self._storage.get_study_system_attrs(self._study_id)
        signs = {key[len(_PREFIX) :]: value for key, value in found.items() if key.startswith(_PREFIX)}
        for key, value in found.items():
            if key.startswith(_TAKEN):
                name = key[len(_TAKEN) :]
                signs[name] = {**signs.get(name, {}), "taken_by": value}
        return signs

    # This driver

    @property
    def marks(self) -> dict[str, Any]:
        """System attributes that a trial of this driver carries; registers the driver."""
        if not self.id:
            return {}
        self.register()
        return {DRIVER: self.id}

    def register(self) -> None:
        """Says that this driver lives, and goes on saying so until it leaves."""
        if self._is_registered or not self.id:
            return
        self._look_due_s = -1.0  # only one of those that come at the same time can find itself alone
        self._stop = threading.Event()
        _beat(self._storage, self._study_id, self.id, 0)
        self._is_registered = True
        self._beaten_s = uptime()
        weakref.finalize(self, self._stop.set).atexit = False
        arguments = (weakref.ref(self), self._stop, self._storage, self._study_id, self.id)
        threading.Thread(target=_live, args=arguments, daemon=True, name="tuneflow-driver").start()

    def leave(self) -> None:
        """Says that this driver goes: its trials may be taken over at once."""
        if self._is_registered and not self.is_forked:
            self._is_registered = False
            self._has_left = self.has_lost = True
            self._stop.set()
            with contextlib.suppress(Exception):  # the storage may be closed, or the disk full
                self._storage.set_study_system_attr(self._study_id, _PREFIX + self.id, {"left": True})

    def give_sign(self) -> None:
        """A sign of life; or, where somebody has missed it for too long, ``has_lost``."""
        if "taken_by" in self._signs().get(self.id, {}):
            self.has_lost = True
            return
        self._n_beats += 1
        _beat(self._storage, self._study_id, self.id, self._n_beats)
        self._beaten_s = uptime()

    @property
    def is_late(self) -> bool:
        """Whether the sign of life is long due: this process, its machine, or what it writes to, stood still."""
        return self._is_registered and uptime() - self._beaten_s > _GRACE_S / 2

    @property
    def is_forked(self) -> bool:
        """Whether this is a child's copy of its parent's driver, which has not begun anew yet."""
        return bool(self.id) and self._pid != os.getpid()

    def begin_anew(self) -> None:
        """Goes on under another id: others look after the old one's trials, or it is the parent's of a fork."""
        is_back = self._has_left and not self.is_forked
        if self.is_forked:
            self.own_ids.clear()
            self._pid = os.getpid()
        else:
            self._stop.set()
        if is_back:
            self._before.add(self.id)
        self._has_left = False
        self._is_registered = False
        self.id = secrets.token_hex(6)
        self.own_ids.add(self.id)
        self.has_lost = False
        self.has_met = self.has_met or not is_back
        self.register()

    def take_all(self) -> None:
        """Nobody else works on the study, and nobody ever will again: the caller knows."""
        for name, sign in self._signs().items():
            if name == self.id:
                continue
            self._before.add(name)
            if "taken_by" not in sign:
                self._storage.set_study_system_attr(self._study_id, _TAKEN + name, self.id)

    def take(self, trial: FrozenTrial) -> None:
        """The trial is this driver's from now on."""
        if self.id:
            self.register()
            self._storage.set_trial_system_attr(trial._trial_id, DRIVER, self.id)

    # The others

    def others(self) -> list[str]:
        """The other drivers that live, as of a few seconds ago."""
        self._look()
        return self._others

    def dead(self) -> list[str]:
        """Drivers that are dead and whose trials nobody has taken over; looked for every few seconds."""
        return self._look()

    def look_again(self) -> None:
        """Has the next look at the others be a fresh one."""
        self._look_due_s = -1.0

    def _look(self) -> list[str]:
        now_s = self._clock.monotonic()
        if not self.id or now_s < self._look_due_s:
            return []
        self._look_due_s = now_s + _LOOK_S
        known = self._signs()
        self.has_lost = self.has_lost or "taken_by" in known.pop(self.id, {})
        over = {name for name, sign in known.items() if self._is_over(name, sign, now_s)}
        dead = [name for name in known if name in over and "taken_by" not in known[name]]
        self._others = [name for name in known if name not in over]
        self.has_met = self.has_met or bool(self._others) or not known.keys() <= self._before
        return dead

    def _is_over(self, name: str, sign: dict[str, Any], now_s: float) -> bool:
        return "taken_by" in sign or not self._lives(name, sign, now_s)

    def _lives(self, name: str, sign: dict[str, Any], now_s: float) -> bool:
        if sign.get("left"):
            return False
        beat, since_s = self._beats.get(name, (-1, now_s))
        if beat != sign["beat"]:
            self._beats[name] = (sign["beat"], now_s)
            since_s = now_s
        if sign["place"] == _place() and not (is_running(sign["pid"]) and start_of(sign["pid"]) == sign["started"]):
            return False
        return now_s - since_s < _GRACE_S

    @contextlib.contextmanager
    def taking_over(self, dead: str) -> Iterator[list[FrozenTrial]]:
        """The unfinished trials of a dead driver, for this one alone; none where another driver is at it, or was."""
        name = f"{self._name}{_LOCK}{dead}"
        self.register()  # should it die now, others have to see that
        try:
            with quiet():
                lock = self._storage.create_new_study(self._directions, name)
        except optuna.exceptions.DuplicatedStudyError:
            self._break_stale(name)
            yield []
            return
        try:
            self._storage.set_study_system_attr(lock, DRIVER, self.id)
            sign = self._signs().get(dead, {})
            if "taken_by" in sign:
                yield []
                return
            running = self._storage.get_all_trials(self._study_id, deepcopy=False, states=(TrialState.RUNNING,))
            yield [trial for trial in running if _belongs_to(trial, dead)]
            self._storage.set_study_system_attr(self._study_id, _TAKEN + dead, self.id)
        finally:
            with contextlib.suppress(KeyError):  # this driver was so slow that another one has removed it
                self._storage.delete_study(lock)

    @contextlib.contextmanager
    def one_of_all(self, what: str) -> Iterator[bool]:
        """Whether this driver is to do what is done once in a study's life; False where another one is just at it."""
        if not self.id:
            yield True
            return
        try:
            with quiet():
                lock = self._storage.create_new_study(self._directions, f"{self._name}{_LOCK}{what}")
        except optuna.exceptions.DuplicatedStudyError:
            yield False
            return
        try:
            yield True
        finally:
            self._storage.delete_study(lock)

    def _break_stale(self, name: str) -> None:
        """Removes the lock of a driver that died while it held it, or before it could say whose it is."""
        now_s = self._clock.monotonic()
        with contextlib.suppress(KeyError):
            lock = self._storage.get_study_id_from_name(name)
            holder = str(self._storage.get_study_system_attrs(lock).get(DRIVER))
            sign = self._signs().get(holder)
            if sign is None:
                is_stale = now_s - self._unheld.setdefault(name, now_s) >= _GRACE_S
            else:
                is_stale = self._is_over(holder, sign, now_s)
            if is_stale:
                self._unheld.pop(name, None)
                self._storage.delete_study(lock)


def _belongs_to(trial: FrozenTrial, name: str) -> bool:
    """Whether a running trial is a driver's: it says so, or it wanted the trial and died before it could."""
    attrs = trial.system_attrs
    return attrs.get(DRIVER) == name if DRIVER in attrs else bool(attrs.get(f"{WANTED}{name}"))


def _live(owner: weakref.ref[Drivers], stop: threading.Event, storage: BaseStorage, study_id: int, name: str) -> None:
    """The driver's thread: a sign of life now and then, for as long as somebody holds the driver."""
    while True:
        stop.wait(_INTERVAL_S)
        driver = owner()
        # A storage that is closed, or refuses for a moment: the next beat comes.
        with contextlib.suppress(Exception):
            if driver is None:
                storage.set_study_system_attr(study_id, _PREFIX + name, {"left": True})
            elif not stop.is_set():
                driver.give_sign()
        if driver is None or driver.has_lost or stop.is_set():
            return
        del driver


def _beat(storage: BaseStorage, study_id: int, name: str, beat: int) -> None:
    pid = os.getpid()
    sign: dict[str, Any] = {"place": _place(), "pid": pid, "started": start_of(pid), "beat": beat}
    storage.set_study_system_attr(study_id, _PREFIX + name, sign)


def _place() -> str:
    """Where process ids mean the same: this machine since its last start, or this container.

    Machines that were made from one image may all have the same name, and all begin with the same namespace.
    """
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no file
        boot = _BOOT.read_text().strip()
    except OSError:
        namespace = boot = ""
    return f"{socket.gethostname()} {namespace} {boot}".strip()
