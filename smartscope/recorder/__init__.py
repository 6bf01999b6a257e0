"""Recorder: the run folder, written while the run goes on and readable at every moment of it.

``folder`` makes the run folder and keeps ``run.json``; ``recorder`` is what the loop talks to; ``stack_log`` and
``image_stack`` put images on disk, ``jsonl`` and ``rows`` everything else; ``tables`` keeps single molecules,
``track_tables`` derives ``tracks.csv``, ``settled_tracks.csv`` and ``events.csv``; ``reader`` opens a run again, also
one that was killed; ``bench`` measures it all.
"""
