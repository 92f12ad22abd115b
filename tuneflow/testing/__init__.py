"""Contract suites for plugin authors. No other part of tuneflow imports them."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tuneflow.testing.pruners")

from tuneflow.testing.driver import Driver, ProtocolViolation, Record, replay  # noqa: E402
from tuneflow.testing.pruners import PrunerContract, Situation  # noqa: E402

__all__ = ["Driver", "ProtocolViolation", "PrunerContract", "Record", "Situation", "replay"]
