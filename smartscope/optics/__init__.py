"""Optics: light and noise as physics, shared by the simulated microscope, training and tests."""
