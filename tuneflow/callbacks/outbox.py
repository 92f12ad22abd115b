"""Work that a listener hands to a thread of its own, so that the study never waits for a tracker."""

from __future__ import annotations

import logging
import pickle
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import IO, Any

__all__ = ["Outbox"]

_logger = logging.getLogger("tuneflow")
_REFILL = 64


class Outbox:
    """Hands items to a function on a thread of its own, in the order in which they came. ``put`` never waits.

    Up to ``capacity`` items are kept in memory. What comes on top of that goes, pickled, to a temporary file and comes
    back from there in its turn: a receiver that is slow or hangs costs disk space, no item and no time. Where the disk
    refuses it, or the item cannot be pickled, the item is lost; it is counted and said in the log ``tuneflow``, as is
    an item that the function raised on.

    The thread starts with the first item and ends with ``close``. A process that ends without that finishes what is
    left, calls ``at_exit`` and only then goes.

    Args:
        handle: gets each item.
        name: what log lines and the thread are called.
        capacity: items in memory, >= 1.
        at_exit: called on the thread where the process ends before ``close``.

    Attributes:
        n_lost: items that did not get through so far.

    Example:
        >>> got = []
        >>> outbox = Outbox(got.append, name="example")
        >>> for number in range(3):
        ...     outbox.put(number)
        >>> outbox.close(patience_s=10), got
        (0, [0, 1, 2])
    """

    def __init__(
        self,
        handle: Callable[[Any], None],
        *,
        name: str,
        capacity: int = 10_000,
        at_exit: Callable[[], None] | None = None,
    ) -> None:
        self.n_lost = 0
        self._handle = handle
        self._name = name
        self._capacity = capacity
        self._at_exit = at_exit
        self._memory: deque[Any] = deque()
        self._file: IO[bytes] | None = None
        self._n_in_file = 0
        self._read_at = 0
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._is_leaving = False
        self._is_busy = False
        self._n_handled = 0
        self._said: set[str] = set()

    def put(self, item: Any) -> None:
        """Hands an item over; safe from any thread."""
        with self._condition:
            if self._n_in_file or len(self._memory) >= self._capacity:
                self._spill(item)
            else:
                self._memory.append(item)
            if self._thread is None:
                self._start()
            self._condition.notify_all()

    @property
    def n_waiting(self) -> int:
        """Items that were not handed on yet, the one in hand included."""
        with self._condition:
            return len(self._memory) + self._n_in_file + self._is_busy

    def drain(self, *, patience_s: float) -> int:
        """Waits until everything has been handed on, or until nothing has moved for ``patience_s`` seconds.

        Returns:
            How many items are left; 0 if all went through.
        """
        with self._condition:
            while self._memory or self._n_in_file or self._is_busy:
                n_before = self._n_handled
                moved = self._condition.wait_for(lambda n=n_before: self._n_handled != n, patience_s)  # type: ignore[misc]
                if not moved:
                    break
            return len(self._memory) + self._n_in_file + self._is_busy

    def close(self, *, patience_s: float) -> int:
        """``drain``, then ends the thread. The next ``put`` starts another. Returns how many items are left."""
        n_left = self.drain(patience_s=patience_s)
        if n_left:
            return n_left  # it goes on, and ends with the process
        with self._condition:
            thread, self._thread = self._thread, None
            self._is_closing = thread is not None
            self._condition.notify_all()
        if thread is not None:
            thread.join()
        if self._file is not None:
            self._file.close()
            self._file = None
        return 0

    def _start(self) -> None:
        self._is_closing = False
        # No daemon: the interpreter waits for it, so that nothing is cut off in the middle.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=False)
        self._thread.start()
        _leave_with_main_thread(self)

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._memory and not self._n_in_file:
                    if self._is_closing:
                        return
                    if self._is_leaving:
                        break
                    self._condition.wait()
                if not self._memory and not self._n_in_file:
                    break
                if not self._memory:
                    self._refill()
                if not self._memory:
                    continue
                item = self._memory.popleft()
                self._is_busy = True
            try:
                self._handle(item)
            except Exception as error:
                self._lose(error)
            del item
            with self._condition:
                self._is_busy = False
                self._n_handled += 1
                self._condition.notify_all()
        if self._at_exit is not None:
            self._at_exit()

    def leave(self) -> None:
        """The process ends: the thread does what is left, and ends too."""
        with self._condition:
            self._is_leaving = True
            self._condition.notify_all()

    # The file, under the lock

    def _spill(self, item: Any) -> None:
        try:
            packed = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="tuneflow-outbox-")  # noqa: SIM115
            end = self._file.seek(0, 2)
            try:
                self._file.write(packed)
                self._file.flush()
            except OSError:
                self._file.truncate(end)
                raise
        except Exception as error:
            self._lose(error)
        else:
            self._n_in_file += 1

    def _refill(self) -> None:
        assert self._file is not None
        self._file.seek(self._read_at)
        for _ in range(min(_REFILL, self._capacity, self._n_in_file)):
            self._n_in_file -= 1
            try:
                self._memory.append(pickle.load(self._file))
            except Exception as error:
                self._lose(error)
        self._read_at = self._file.tell()
        if not self._n_in_file:
            self._file.truncate(0)
            self._read_at = 0

    def _lose(self, error: Exception) -> None:
        self.n_lost += 1
        kind = type(error).__name__
        if kind not in self._said:
            self._said.add(kind)
            _logger.error("%s: %s: %s; what it was about is lost (said once)", self._name, kind, error)


_watched: weakref.WeakSet[Outbox] = weakref.WeakSet()
_watch_lock = threading.Lock()
_watcher: threading.Thread | None = None


def _leave_with_main_thread(outbox: Outbox) -> None:
    """Has the outbox leave when the main thread has ended; threads are joined before that of ``atexit`` is called."""
    global _watcher
    with _watch_lock:
        _watched.add(outbox)
        if _watcher is None or not _watcher.is_alive():  # a forked child has none
            _watcher = threading.Thread(target=_watch, name="tuneflow-outbox-watch", daemon=True)
            _watcher.start()


def _watch() -> None:
    threading.main_thread().join()
    for outbox in list(_watched):
        outbox.leave()
