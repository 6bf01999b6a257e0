"""Bus: what clients see and may ask over ZeroMQ.

``messages`` lists what can be said and ``wire`` makes it bytes; ``streams`` and ``preview`` make messages of frames and
results; ``publisher`` broadcasts (events and data); ``control`` answers requests over ``rpc``; ``keys`` decides who
may connect. ``client`` is the other side, one file that can be copied alone; ``watch`` is a client for the terminal.
"""
