"""The shares of ``benchmarks/tracking_cost.py``: one module per tracker, each with ``measure(report, quick)``."""
