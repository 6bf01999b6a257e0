"""Bus: what clients see and may ask over ZeroMQ."""
