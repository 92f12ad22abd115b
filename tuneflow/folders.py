"""Where trials keep their files."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

__all__ = ["TrialFolders"]


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
