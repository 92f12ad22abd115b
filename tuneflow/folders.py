"""Where trials keep their files, and who else may write there."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import weakref
from pathlib import Path

__all__ = ["TrialFolders", "is_writable_by_others"]


def is_writable_by_others(path: Path) -> bool:
    """Whether another user than this one and root may change a file or folder: a pickle from there may hold anything.

    A group that bears the user's name and has no other members is nobody else: many systems give each user one, and let
    it write by default.
    """
    found = path.stat()
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_own_group(found.st_gid)


def _is_own_group(number: int) -> bool:
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.getuid())
    except KeyError:  # without a name
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


class TrialFolders:
    """One folder per trial, made when it is first asked for.

    Args:
        root: the folder that holds them; None for a temporary one, which goes with this object.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._text: str | None = None
        self._made: set[int] = set()
        self.is_temporary = root is None

    @property
    def root(self) -> Path:
        """The folder that holds the trials' folders."""
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="tuneflow-"))
            weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)
        return self._root

    def of(self, number: int) -> Path:
        """Where a trial's folder is or would be."""
        return self.root / f"{number:05d}"

    def name_of(self, number: int) -> str:
        """``of`` as a string, without the detour over a path."""
        if self._text is None:
            self._text = str(self.root)
        return f"{self._text}{os.sep}{number:05d}"

    def make(self, number: int) -> Path:
        """A trial's folder."""
        folder = self.of(number)
        if number not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            self._made.add(number)
        return folder
