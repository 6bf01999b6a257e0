"""Specimens: what lives under the simulated microscope, and how light changes it."""
