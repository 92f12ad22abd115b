"""A thread that empties a spool in the background, whatever the server is up to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tuneflow.errors import TrackingUnavailable

__all__ = ["Shipper"]

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_logger = logging.getLogger("tuneflow")


class Shipper:
    """Calls ``drain`` from a thread of its own whenever there is something to send.

    Args:
        drain: sends all there is; returns how many entries, raises ``TrackingUnavailable`` where it cannot.
        interval_s: how long entries are collected before they are sent together.
        hint: what to say of what could not be sent.

    Example:
        >>> sent = []
        >>> shipper = Shipper(lambda: sent.append("all") or 1, interval_s=0.0)
        >>> shipper.wake()
        >>> shipper.close(timeout_s=5.0)
        True
        >>> "all" in sent
        True
    """

    def __init__(self, drain: Callable[[], int], *, interval_s: float = 0.5, hint: str = "") -> None:
        self._drain = drain
        self._interval_s = interval_s
        self._hint = hint
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_down = False
        self._pause_s = _FIRST_PAUSE_S

    def wake(self) -> None:
        """There is something to send."""
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None:
            # A daemon: a server that never answers must not keep the process alive.
            self._thread = threading.Thread(target=self._run, daemon=True, name="tuneflow-shipper")
            self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Sends what is left; returns whether the thread has come to its end within ``timeout_s`` seconds."""
        if self._thread is None:
            return True
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause_s = self._pause_s
        while True:
            self._wake.wait()
            self._closing.wait(pause_s if self._is_down else self._interval_s)
            is_last = self._closing.is_set()
            self._wake.clear()
            if self._try():
                pause_s = self._pause_s
            else:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._wake.set()
            if is_last:
                return

    def _try(self) -> bool:
        try:
            self._drain()
        except TrackingUnavailable as error:
            if not self._is_down:
                _logger.warning("%s. %s", error, self._hint)
            self._is_down = True
            return False
        except Exception as error:
            if not self._is_down:
                _logger.warning("sending to a tracking server failed: %r. %s", error, self._hint)
            self._is_down = True
            return False
        if self._is_down:
            _logger.info("the tracking server answers again; all that was kept for it is there now")
            self._is_down = False
        return True
