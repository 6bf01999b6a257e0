"""A microscope without hardware, in parts; nothing is imported here, since the supervisor needs the lights alone."""
