"""Recorder: the run folder."""
