"""Tracks as files of other programs: TrackMate's CSV, GEFF, and the Cell Tracking Challenge's results.

``table`` is what each writer takes, and comes from a run (``smartscope.exporting``) or a CSV (``reading``); ``graph``
finds links, lineages and unbroken pieces; ``trackmate``, ``geff`` and ``ctc`` write; ``forms`` names them.
"""
