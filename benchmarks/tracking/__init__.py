"""The parts of ``benchmarks/tracking.py``, each with a function ``measure(report, quick)``."""
