"""Parts of ``bench_tracking.py``."""
