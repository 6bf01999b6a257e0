"""What ``bench_structured_illumination.py`` measures: speed, quality, verdicts and one real pair."""
