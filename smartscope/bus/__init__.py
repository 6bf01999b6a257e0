"""Bus: what clients see and may ask over ZeroMQ.

``wire`` is the format; ``messages`` turns frames and results into it; ``publisher`` broadcasts (events and data);
``control`` answers requests over ``rpc``; ``keys`` decides who may connect; ``client`` is the other side, one file that
can be copied alone; ``watch`` is a client for the terminal.
"""
