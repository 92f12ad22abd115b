"""A spool: what is to be sent to a tracking server, kept in files until the server has it.

The folder of one spool::

    target.json     where it goes, secrets masked, and what names the study there
    entries.jsonl   one JSON object per line, appended to
    sent.json       how much of entries.jsonl the server has, in bytes
    runs.jsonl      which run of the server is whose
    files/          copies of files to upload
    lock            held by whoever sends

Whatever is killed when, no entry is lost: an entry is in the file before anybody hears of it, and it counts as sent
only after the server has taken it. So an entry may be sent twice and has to mean the same both times.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuneflow.callbacks.files import FilePool, replace_file
from tuneflow.errors import LogNotWritten

__all__ = ["RunBook", "Spool"]

Entry = dict[str, Any]


class Spool:
    """The files of one spool.

    Args:
        folder: made with the first entry.

    Example:
        >>> import tempfile
        >>> spool = Spool(Path(tempfile.mkdtemp()))
        >>> spool.append({"run": "0", "metrics": {"loss": 0.5}})
        >>> entries, end = spool.read()
        >>> entries
        [{'run': '0', 'metrics': {'loss': 0.5}}]
        >>> spool.mark_sent(end)
        >>> spool.n_unsent_bytes
        0
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = os.fspath(folder / "entries.jsonl")
        self._sent = folder / "sent.json"
        self._pool = FilePool(limit=1)
        self._held_back = b""
        self._is_open = False

    # Writing

    def append(self, entry: Entry) -> None:
        """Keeps an entry. It is in the file when this returns.

        Raises:
            LogNotWritten: the disk refused; the entry is kept in memory and written with the next one.
        """
        if not self._is_open:
            self._open()
        lines = self._held_back + f"{json.dumps(entry)}\n".encode()
        try:
            self._pool.append(self._path, lines)
        except LogNotWritten:
            self._held_back = lines
            raise
        self._held_back = b""

    def _open(self) -> None:
        """Makes the folder, and cuts a last line that a killed process left torn."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError), open(self._path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            start, end = size, 0
            while start and not end:
                start = max(0, start - 65536)
                file.seek(start)
                end = file.read(65536).rfind(b"\n") + 1
            file.truncate(start + end)
        self._is_open = True

    def close(self) -> None:
        """Closes the file; the next entry opens it again."""
        self._pool.close_all()
        self._is_open = False

    def keep_file(self, source: Path, name: str) -> str:
        """Keeps a copy of a file or folder until it is sent: links where the disk can, since checkpoints are large.

        Returns:
            What to name it by in an entry.
        """
        target = self.folder / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        if source.is_dir():
            shutil.copytree(source, target, copy_function=_link, ignore=shutil.ignore_patterns(".tuneflow.json"))
        else:
            target.unlink(missing_ok=True)
            _link(os.fspath(source), os.fspath(target))
        return f"files/{name}"

    def drop_file(self, name: str) -> None:
        """A kept copy is no longer needed."""
        path = self.folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if path.parent != self.folder / "files":
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    # Reading

    def read(self, limit_bytes: int = 1_000_000) -> tuple[list[Entry], int]:
        """The next entries that were not sent, and the place to mark as sent after them."""
        start = self.n_sent_bytes
        try:
            with open(self._path, "rb") as file:
                file.seek(start)
                data = file.read(limit_bytes)
                if len(data) == limit_bytes and b"\n" not in data:
                    data += file.readline()
        except FileNotFoundError:
            return [], 0
        end = data.rfind(b"\n") + 1
        return list(_entries(data[:end])), start + end

    def all_entries(self) -> Iterator[Entry]:
        """Every entry, sent or not."""
        try:
            with open(self._path, "rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield from _entries(line)
        except FileNotFoundError:
            return

    @property
    def n_sent_bytes(self) -> int:
        """How much of the file the server has."""
        try:
            n_sent = int(json.loads(self._sent.read_text())["bytes"])
        except (OSError, ValueError, KeyError):
            return 0
        return n_sent if n_sent <= self.n_entries_bytes else 0

    @property
    def n_unsent_bytes(self) -> int:
        """How much of the file the server lacks."""
        return self.n_entries_bytes - self.n_sent_bytes

    @property
    def n_entries_bytes(self) -> int:
        """How long the file is; 0 where there is none."""
        try:
            return Path(self._path).stat().st_size
        except FileNotFoundError:
            return 0

    def mark_sent(self, end: int) -> None:
        """The server has all entries before ``end``."""
        replace_file(os.fspath(self._sent), json.dumps({"bytes": end}).encode())

    def compact(self, summary: list[Entry]) -> None:
        """Puts ``summary``, entries that ask for nothing to be sent, in place of the entries, all of which were sent.

        Killed in between, everything is sent once more, which changes nothing.
        """
        self.close()
        self._sent.unlink(missing_ok=True)
        replace_file(self._path, b"".join(f"{json.dumps(entry)}\n".encode() for entry in summary))
        self.mark_sent(self.n_entries_bytes)

    # Who sends, and where to

    @contextlib.contextmanager
    def sending(self) -> Iterator[bool]:
        """Holds the lock of the one who sends; False where another process holds it."""
        try:
            import fcntl
        except ImportError:
            yield True
            return
        with open(self.folder / "lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    @property
    def target(self) -> Entry:
        """Where the entries go; empty for a new spool."""
        try:
            found = json.loads((self.folder / "target.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def claim_target(self, target: Entry) -> Entry:
        """Sets the target where there is none yet, and returns what it is: another process may have been quicker."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".target-{os.getpid()}-{threading.get_ident()}"
        draft.write_text(json.dumps(target, indent=1))
        try:
            with contextlib.suppress(FileExistsError):
                os.link(draft, self.folder / "target.json")
        except OSError:  # a disk without links
            if not self.target:
                self.set_target(target)
        finally:
            draft.unlink()
        return self.target

    def set_target(self, target: Entry) -> None:
        """Says where the entries go. Holds no secrets."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(os.fspath(self.folder / "target.json"), json.dumps(target, indent=1).encode())


class RunBook:
    """Which run of the server is whose, by a name of ours.

    A name is noted before its run is made, and again with the run's id. A name without an id may have a run that was
    made by a process that was killed before it could note the id: then the server has to be asked.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "runs.jsonl"
        self._ids: dict[str, str] = {}
        self._intended: set[str] = set()
        self._n_read = 0

    def id_of(self, name: str) -> str | None:
        """The run's id; None where none is known."""
        if name not in self._ids:
            self._read()
        return self._ids.get(name)

    def is_intended(self, name: str) -> bool:
        """Whether somebody was about to make the run."""
        self._read()
        return name in self._intended

    def intend(self, name: str) -> None:
        """The run is about to be made."""
        self._write({"name": name})

    def note(self, name: str, run_id: str) -> None:
        """The run is there."""
        self._write({"name": name, "id": run_id})

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """Held by who makes a run, so that a trial and its driver do not both make the same one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl
        except ImportError:
            yield
            return
        with open(self._path.with_suffix(".lock"), "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _write(self, entry: Entry) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A leading line end: what a killed process left torn does not spoil this entry.
        with open(self._path, "ab") as file:
            file.write(f"\n{json.dumps(entry)}\n".encode())
        self._read()

    def _read(self) -> None:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._n_read)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._n_read += end
        for entry in _entries(data[:end]):
            self._intended.add(entry["name"])
            if "id" in entry:
                self._ids[entry["name"]] = entry["id"]


def _entries(data: bytes) -> Iterator[Entry]:
    for line in data.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
