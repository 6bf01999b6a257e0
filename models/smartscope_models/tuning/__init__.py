"""Tuning of a denoiser to the sample under the microscope: self-supervised, aside, and kept only if it is better.

:mod:`process` starts a process and bounds it in time; there :mod:`work` goes from recorded frames (:mod:`clips`) to a
verdict (:mod:`judging`, :mod:`rule`), and :mod:`versions` writes what is kept.
"""
