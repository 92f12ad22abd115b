"""Where studies live: the journal, databases, and the view that samplers get of paused trials."""

from __future__ import annotations

from tuneflow.storage.journal import JournalBackend
from tuneflow.storage.journal_storage import Journal
from tuneflow.storage.opening import open_storage
from tuneflow.storage.view import PAUSED_ATTRIBUTE, ViewStorage

__all__ = ["PAUSED_ATTRIBUTE", "Journal", "JournalBackend", "ViewStorage", "open_storage"]
