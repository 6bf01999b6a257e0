"""What ``bench_localization.py`` measures: the limit, crowds, wrong assumptions, speed, latency and networks."""
