"""What turns movies into lists: ours by the code of ``smartscope process localize``, the floor as it comes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from judging.figures import Row
from smartscope.processing import process_file

from .movies import Movie, write_list
from .peak_finder import find_peaks

OURS, PEAKS = "ours", "peak finder"


class Candidate(Protocol):
    """One tool under test."""

    label: str
    """Its name in tables."""

    def localize(self, movie: Movie, out: Path) -> Row:
        """Write a list with ThunderSTORM's names; returns what it cost, where that is known."""


@dataclass(frozen=True, slots=True)
class Ours:
    """This project."""

    label: str = OURS
    options: tuple[str, ...] = ()
    """As ``--option`` takes them."""

    @classmethod
    def parse(cls, text: str) -> Ours:
        """``LABEL[:KEY=VALUE,KEY=VALUE…]``."""
        label, _, pairs = text.partition(":")
        return cls(label, tuple(pair for pair in pairs.split(",") if pair))

    def localize(self, movie: Movie, out: Path) -> Row:
        """As ``smartscope process localize MOVIE OUT --camera CAMERA --option …``."""
        report = out.with_suffix(".report.json")
        process_file("localize", movie.tiff, out, movie.camera_file, None, list(self.options), report)
        told: Row = json.loads(report.read_text())
        kept = {"cpu_ms_per_frame": "cpu_ms", "median_ms": "median_ms", "p99_ms": "p99_ms", "localizer": "localizer"}
        return {name: told[key] for key, name in kept.items() if key in told}


class PeakFinder:
    """The floor."""

    label = PEAKS

    def localize(self, movie: Movie, out: Path) -> Row:
        """Knows the camera, not the spot."""
        frame, x, y, photons = find_peaks(movie.photons())
        pixel = movie.pixel_nm
        write_list(out, frame, {"x [nm]": x * pixel, "y [nm]": y * pixel, "intensity [photon]": photons})
        return {}
