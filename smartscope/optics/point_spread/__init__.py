"""Images of one molecule: Gaussian, astigmatic, from the pupil, or measured and kept as a cubic spline."""
