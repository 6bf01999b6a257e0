"""Policies: pure functions from what was seen to what should change."""
