"""Judging prediction: motions, the tracker's view of them, and runs in the simulated microscope."""
