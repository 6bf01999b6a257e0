"""Judging when to look often: times of events, a detector with noise, the rivals' rules."""
