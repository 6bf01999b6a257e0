"""smartscope runs a microscope by itself.

The way of one frame: ``grabber`` takes it from a ``Microscope`` (``ports``), the ``recorder`` keeps it, the ``bus``
shows it, the ``pipeline`` of models understands it, ``policies`` ask for changes, ``safety.gate`` grants them, and the
``loop`` carries them out. ``app`` puts these together from a ``config``; ``cli`` is what a user types.
"""

__version__ = "0.1.0"
