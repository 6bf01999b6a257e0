"""Offset, gain and read noise of every pixel of a camera, from dark frames and a series of light levels."""

from smartscope.camera_calibration.levels import Level, LevelStatistics
from smartscope.camera_calibration.photon_transfer import PhotonTransfer, photon_transfer

__all__ = ["Level", "LevelStatistics", "PhotonTransfer", "photon_transfer"]
