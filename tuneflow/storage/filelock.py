"""An exclusive lock on an open file, held between processes and given up by the system when its holder dies."""

from __future__ import annotations

import sys

__all__ = ["lock_file", "unlock_file"]

if sys.platform == "win32":
    import msvcrt
    import os

    # Windows locks are mandatory: a byte far behind any content is locked, so that readers are never refused.
    _FAR_BYTE = 1 << 62

    def lock_file(fd: int) -> None:
        """Waits for the lock on the file ``fd`` is open on."""
        while True:
            os.lseek(fd, _FAR_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(fd, msvcrt.LK_LOCK, 1)
            except OSError:  # it gives up after ten seconds
                continue
            return

    def unlock_file(fd: int) -> None:
        """Gives the lock back."""
        os.lseek(fd, _FAR_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    # flock and not lockf: a POSIX record lock is lost as soon as any descriptor of the file is closed in this process
    # (Optuna's own backend opens and closes the file at each call), and it does not keep threads apart.
    def lock_file(fd: int) -> None:
        """Waits for the lock on the file ``fd`` is open on."""
        fcntl.flock(fd, fcntl.LOCK_EX)

    def unlock_file(fd: int) -> None:
        """Gives the lock back."""
        fcntl.flock(fd, fcntl.LOCK_UN)
