"""tuneflow's own backend for Optuna's ``JournalStorage``: one file kept open, appended to under a lock.

The rules between the processes that share a journal:

* A record is one line and is appended by one write. The file is never changed in any other way, except that a last
  line that is torn is cut off by whoever appends next. (A process that is killed while it writes may leave a torn line
  as well as a power failure: Linux stops at the end of a page.)
* tuneflow's processes append and cut under an exclusive lock on the file itself, which the system takes back from a
  process that dies. Optuna's ``JournalFileBackend`` has a lock of its own (another file beside the journal) and knows
  nothing of ours. Appends need none between the two: both write whole lines at the file's end in single writes, which
  the system puts one after the other. Only a cut could hurt Optuna, so a cut takes Optuna's lock as well.
* A process knows the file up to an offset. Where the file ends there, nothing has been appended by others, and what
  this process appended itself is handed back without reading. Else the rest is read.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileOpenLock

from tuneflow.errors import InvalidArgument, JournalCorrupt, JournalNotWritten, TuneflowWarning, UsageError
from tuneflow.storage.filelock import lock_file, unlock_file
from tuneflow.storage.records import NotARecord, Unreadable, decode_line, encode_line, is_plain, looks_like_journal
from tuneflow.storage.syncing import GroupSync, sync_folder

__all__ = ["JournalBackend"]

_BLOCK_BYTES = 1 << 20
_MARK_EVERY = 1024
_MAX_OWN = 4096
_OPEN_FLAGS = os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}

_opened: weakref.WeakSet[JournalBackend] = weakref.WeakSet()


class JournalBackend(BaseJournalBackend):
    """A journal file. Optuna's ``JournalFileBackend`` (and so optuna-dashboard) reads it and may append to it.

    A record is on its way to the disk when ``append_logs`` returns and survives the death of this process; it survives
    a power failure ``sync_interval_s`` later, or after ``flush``. Threads may share one object; it may be pickled and
    it survives a fork (both open the file anew). A journal on a read-only file system can be read.

    Args:
        path: the file; made if it is missing, its folder is not.
        sync_interval_s: seconds, >= 0, that appends are gathered before one sync to disk serves them all; 0 syncs each.

    Raises:
        InvalidArgument: ``sync_interval_s`` is negative or NaN.
        OSError: the file cannot be opened.

    Example:
        >>> import optuna, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> backend = JournalBackend(folder.name + "/study.log")
        >>> study = optuna.create_study(storage=optuna.storages.JournalStorage(backend))
        >>> study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        >>> backend.close()
        >>> len(list(optuna.storages.journal.JournalFileBackend(backend.path).read_logs(0)))
        10
        >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str], *, sync_interval_s: float = 0.05) -> None:
        if not sync_interval_s >= 0:
            raise InvalidArgument(f"sync_interval_s={sync_interval_s} must be >= 0")
        self.path = str(Path(path).absolute())
        self.sync_interval_s = sync_interval_s
        self._lock = threading.Lock()
        self._is_closed = False
        # The file as far as it is known: so many bytes hold so many whole records.
        self._size = 0
        self._count = 0
        # Offset of every record whose number is a multiple of _MARK_EVERY: where to start when reading again.
        self._marks = [0]
        # The newest records, appended here and perhaps not handed back yet; the last of them is number _count - 1.
        self._own: list[dict[str, Any]] = []
        self._warned_at = -1
        self._open(os.O_CREAT)

    # Reading

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The records from number ``log_number_from`` (from 0) on.

        A last line that is not whole is left out, as it may still be on its way. Cost: one ``fstat`` where nothing has
        been appended by others since the last call; the first call reads the file in blocks.

        Raises:
            JournalCorrupt: a line before the last one cannot be read.
            UsageError: the journal is closed, or its file was deleted, replaced or shortened by someone else.
        """
        with self._lock:
            if self._stat_size() == self._size:
                n_missing = self._count - log_number_from
                own = self._own
                if n_missing <= len(own):
                    del own[: len(own) - max(n_missing, 0)]
                    return tuple(own)
            start = self._start_of(log_number_from)
        return self._stream(log_number_from, *start)

    def _start_of(self, number: int) -> tuple[int, int]:
        """Number and offset of a known record to start reading from, so that ``number`` is reached."""
        if number >= self._count:
            return self._count, self._size
        mark = min(number // _MARK_EVERY, len(self._marks) - 1)
        return mark * _MARK_EVERY, self._marks[mark]

    def _stream(self, log_number_from: int, number: int, offset: int) -> Iterator[dict[str, Any]]:
        # The lock is not held while the caller works on a block, nor if it stops half way.
        is_opening = number == 0
        while True:
            with self._lock:
                records, offset = self._read_block(number, offset)
                if not records and is_opening:
                    self._warn_of_torn_end(offset)
            if not records:
                return
            yield from records[max(log_number_from - number, 0) :]
            number += len(records)

    def _read_block(self, number: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The next records from ``offset`` on, of which the first is ``number``, and the offset behind them."""
        size = self._stat_size()
        n_bytes = min(_BLOCK_BYTES, size - offset)
        data = self._read(offset, n_bytes)
        while (end := data.rfind(b"\n") + 1) == 0 and offset + len(data) < size:
            data += self._read(offset + len(data), len(data))
        records: list[dict[str, Any]] = []
        for line in data[:end].split(b"\n")[:-1]:
            behind = offset + len(line) + 1
            try:
                records.append(decode_line(line))
            except NotARecord as error:
                raise JournalCorrupt(self.path, number + len(records) + 1, str(error)) from None
            except Unreadable as error:
                if behind < size or not self._may_be_cut(offset, line):
                    raise JournalCorrupt(self.path, number + len(records) + 1, str(error)) from None
                break
            offset = behind
            if offset > self._size:
                self._learn(offset)
                self._own.clear()
        return records, offset

    def _learn(self, offset: int) -> None:
        """One more record is known; it ends at ``offset``."""
        self._size = offset
        self._count += 1
        if self._count % _MARK_EVERY == 0:
            self._marks.append(offset)

    def _may_be_cut(self, offset: int, line: bytes) -> bool:
        return offset > 0 or looks_like_journal(line)

    def _warn_of_torn_end(self, offset: int) -> None:
        """Says that the file ends in a torn line at ``offset``, unless somebody is appending at this moment."""
        if self._stat_size() == offset:
            return
        self._lock_file()
        try:
            is_torn = self._torn_start(self._stat_size()) == offset
        finally:
            unlock_file(self._fd)
        if is_torn and not os.path.lexists(self.path + ".lock"):
            self._warn_dropped(offset)

    def _warn_dropped(self, offset: int) -> None:
        if self._warned_at != offset:
            self._warned_at = offset
            warnings.warn(
                f"journal {self.path}: its last record was not written to its end (power loss, or a killed process) "
                f"and is dropped; everything before it is kept",
                TuneflowWarning,
                stacklevel=4,
            )

    # Appending

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends the records, all or none.

        Raises:
            TypeError: a record has no form in JSON.
            JournalNotWritten: the disk is full or failed; the file is as it was and the journal can be used on.
            UsageError: the journal is closed or read-only, or its file was deleted, replaced or shortened.
        """
        lines = [encode_line(log) for log in logs]
        with self._lock:
            self._stat_size()
            if self._is_readonly:
                raise UsageError(f"journal {self.path} can only be read: its file or file system is read-only")
            self._raise_sync_error()
            self._lock_file()
            try:
                size = self._stat_size()
                is_known = size == self._size
                if not is_known:
                    size = self._cut_torn_end(size)
                    is_known = size == self._size
                data = b"".join(lines)
                self._write(data, size)
                is_known = is_known and self._stat_size() == size + len(data)
            finally:
                unlock_file(self._fd)
            if is_known:
                self._keep(logs, lines)
            self._sync.mark()

    def _keep(self, logs: list[dict[str, Any]], lines: list[bytes]) -> None:
        """Remembers what was just appended, as a reader would find it."""
        for log, line in zip(logs, lines, strict=True):
            self._own.append(log if is_plain(log) else decode_line(line[:-1]))
            self._learn(self._size + len(line))
        if len(self._own) > _MAX_OWN:  # nobody reads; whoever does later gets them from the file
            del self._own[:-1]

    def _write(self, data: bytes, size: int) -> None:
        n_written = 0
        try:
            while n_written < len(data):
                n_written += os.write(self._fd, data[n_written:] if n_written else data)
        except OSError as error:
            # Not if Optuna has appended behind our fragment meanwhile: its record must not be taken away.
            if n_written and os.fstat(self._fd).st_size == size + n_written:
                os.ftruncate(self._fd, size)
            advice = "free some space and repeat the call" if error.errno in _FULL else "check the disk"
            raise JournalNotWritten(
                self.path,
                f"{error.strerror}; the record was not written and the file holds everything before it. "
                f"To go on, {advice}",
                error.errno,
            ) from error

    def _cut_torn_end(self, size: int) -> int:
        """Cuts off a last line that is not whole. The lock is held. Returns the size of the file."""
        if self._torn_start(size) == size:
            return size
        # Optuna's locks are all the same file beside the journal, made in this way or another; this one works anywhere.
        optuna_lock = JournalFileOpenLock(self.path)
        optuna_lock.acquire()
        try:
            # Optuna may have been in the middle of that line.
            start = self._torn_start(self._stat_size())
            if start < self._stat_size():
                os.ftruncate(self._fd, start)
                self._warn_dropped(start)
        finally:
            optuna_lock.release()
        return start

    def _torn_start(self, size: int) -> int:
        """Where a last line that cannot be read starts; ``size`` if the last line is whole.

        Raises:
            JournalCorrupt: the only line of the file is not of a journal: it is no file of ours to cut.
        """
        if size == self._size:
            return size
        n_bytes = min(size, 1 << 16)
        while True:
            start = size - n_bytes
            data = self._read(start, n_bytes)
            behind_newline = data.rfind(b"\n", 0, n_bytes - 1) + 1
            if behind_newline or start == 0:
                break
            n_bytes = min(size, n_bytes * 2)
        line = data[behind_newline:]
        if line.endswith(b"\n"):
            try:
                decode_line(line[:-1])
            except Unreadable:
                pass
            except NotARecord:
                return size
            else:
                return size
        start += behind_newline
        if not self._may_be_cut(start, line):
            raise JournalCorrupt(self.path, 1, "this is no record of a journal")
        return start

    # The file

    def flush(self) -> None:
        """Returns when everything appended so far is on the disk.

        Raises:
            JournalNotWritten: the disk refused.
        """
        with self._lock:
            self._raise_sync_error()
            try:
                self._sync.flush()
            except OSError as error:
                self._sync.error = error
            self._raise_sync_error()

    def close(self) -> None:
        """Brings everything onto the disk and closes the file. May be called twice.

        Raises:
            JournalNotWritten: the disk refused; the file is closed all the same.
        """
        with self._lock:
            self._is_closed = True
            if self._finalizer.detach() is not None:
                try:
                    self._sync.close()
                except OSError as error:
                    self._sync.error = error
                self._sync.join()
                self._raise_sync_error()

    def _raise_sync_error(self) -> None:
        error, self._sync.error = self._sync.error, None
        if error is not None:
            raise JournalNotWritten(
                self.path,
                f"{error.strerror}, when records appended before were to be brought onto the disk; those of the last "
                f"moments may be lost if the machine stops. Free some space or check the disk, then go on",
                error.errno,
            ) from error

    def _open(self, create: int = 0) -> None:
        self._is_readonly = False
        try:
            self._fd = os.open(self.path, os.O_RDWR | create | _OPEN_FLAGS, 0o666)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not Path(self.path).is_file():
                raise
            self._is_readonly = True
            self._fd = os.open(self.path, os.O_RDONLY | _OPEN_FLAGS)
        stat = os.fstat(self._fd)
        # Some file systems do not count links; there a deleted file cannot be noticed.
        self._has_links = stat.st_nlink > 0
        if stat.st_size == 0 and os.name == "posix":
            sync_folder(Path(self.path).parent)
        self._sync = GroupSync(self._fd, self.sync_interval_s)
        # Runs when the object is forgotten, and at the interpreter's exit.
        self._finalizer = weakref.finalize(self, self._sync.close)
        _opened.add(self)

    def _stat_size(self) -> int:
        if self._fd < 0 or self._is_closed:
            if self._is_closed:
                raise UsageError(f"journal {self.path} is closed; open it again with open_storage")
            self._open()
        stat = os.fstat(self._fd)
        size = stat.st_size
        if size < self._size or (self._has_links and stat.st_nlink == 0):
            raise UsageError(
                f"journal {self.path} was deleted, replaced or shortened while it was open; "
                f"put it back and open it again"
            )
        return size

    def _lock_file(self) -> None:
        try:
            lock_file(self._fd)
        except OSError as error:
            raise UsageError(
                f"journal {self.path}: its file system cannot lock files ({error.strerror}); put it on a local disk "
                f"or use PostgreSQL"
            ) from error

    def _read(self, offset: int, n_bytes: int) -> bytes:
        os.lseek(self._fd, offset, os.SEEK_SET)
        return os.read(self._fd, n_bytes)

    def _forget_fork(self) -> None:
        # A forked child shares the parent's open file and with it the parent's lock, and may have copied a held mutex.
        self._lock = threading.Lock()
        if not self._is_closed and self._fd >= 0:
            self._finalizer.detach()
            self._sync.abandon()
            self._fd = -1

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "sync_interval_s": self.sync_interval_s}

    def __setstate__(self, state: dict[str, Any]) -> None:
        JournalBackend.__init__(self, state["path"], sync_interval_s=state["sync_interval_s"])


def _after_fork() -> None:
    for backend in list(_opened):
        backend._forget_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
