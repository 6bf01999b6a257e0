"""Models: everything that understands frames, behind the one Model port."""
