"""Judging of activation control: what was truly there, rival laws, counters that fail, and the figures of a run."""
