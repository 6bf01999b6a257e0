"""Single molecules on disk, in forms that other programs open.

``table`` is what all files hold; ``records`` keeps it bit for bit while a run goes on (NumPy); ``thunderstorm`` (CSV)
and ``picasso`` (HDF5 with YAML) are for other programs.
"""
