"""Only this file knows what light an SLM or a stepped grating of the simulated microscope brings to each place.

``intensity``: an SLM whose grey values multiply the light, stretched over the sensor's field. ``interference``: a phase
SLM; the orders that its mask lets pass meet in the sample. Power is what arrives in the sample, so that the mean light
of any grating is that of a flat SLM, as long as any order passes.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from smartscope.config import MicroscopeConfig, StructuredIlluminationConfig
from smartscope.errors import ConfigurationError, InputError, Problem
from smartscope.frame import Roi
from smartscope.optics.fringes import Fringes, beam_phases, fringe_light, wanted_beams
from smartscope.optics.orders import OrderMask
from smartscope.optics.pattern_layout import Layout
from smartscope.specimens.protocol import Light, Points, View
from smartscope_drivers.simulated.options import WorldOptions

Picture = npt.NDArray[np.float32]
"""(h, w) relative illumination in [0, 1], stretched over the sensor's field."""
Pattern = Picture | Fringes
_REMEMBERED = 64


class Illumination:
    """What shapes the light between lights and sample.

    Raises:
        ConfigurationError: interference without an SLM in the configuration, or no light for it.
    """

    def __init__(self, config: MicroscopeConfig, options: WorldOptions, seed: int) -> None:
        self._config, self._options, self._seed = config, options, seed
        self._fringes = config.optics.structured_illumination
        self._known: OrderedDict[int, Pattern] = OrderedDict()
        self._asked: OrderedDict[
            tuple[int, int, tuple[float, float]], tuple[Points, Pattern | None, npt.NDArray[np.float64]]
        ] = OrderedDict()
        self._lit: tuple[Roi, Pattern | None, Picture | None, Picture | None] | None = None
        slm = self._fringes.slm if self._fringes else None
        self.interferes = options.slm == "interference" or (options.slm == "auto" and slm is not None)
        if self.interferes and slm is None:
            what, remedy = "needs an SLM", "configure microscope.optics.structured_illumination.slm"
            raise ConfigurationError("simulated", [Problem("microscope.options.slm", options.slm, what, remedy=remedy)])
        try:
            self._light = fringe_light(self._fringes, config.lights) if self._fringes else None
        except InputError as error:
            raise ConfigurationError("simulated", [Problem(error.where, "", error.what, error.allowed)]) from error

    @property
    def slm_shape(self) -> tuple[int, int]:
        """(H, W) of the SLM's pixels."""
        slm = self._fringes.slm if self._fringes else None
        return slm.shape if self.interferes and slm is not None else self._config.sensor

    # ---------------------------------------------------------------- patterns

    def of_slm(self, image: npt.NDArray[np.uint8]) -> Pattern:
        """The light behind an SLM that shows ``image`` (H, W)."""
        if not self.interferes:
            return image.astype(np.float32) / np.float32(255)
        key = zlib.crc32(image.tobytes())
        if key not in self._known:
            self._known[key] = self._interference(image, key)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]

    def of_step(self, step: int) -> Fringes:
        """The light behind the grating in step ``step`` of the stack."""
        assert self._fringes is not None
        assert self._light is not None
        layout, optics = Layout.of(self._fringes), self._config.optics
        angle, phase = divmod(step, layout.phases)
        beams = wanted_beams(self._fringes, optics.numerical_aperture, self._light.wavelength_nm)[angle]
        return self._as_built(
            Fringes.of_beams(beams, np.exp(1j * beam_phases(layout)[angle, phase])), self._fringes, step
        )

    def _interference(self, image: npt.NDArray[np.uint8], key: int) -> Fringes:
        config, light = self._fringes, self._light
        assert config is not None
        assert config.slm is not None
        assert light is not None
        mask = OrderMask(config, config.slm, self._config.optics, light.wavelength_nm)
        orders = mask.passed(image)
        half_x_um, half_y_um = mask.slm_um / 2
        made = Fringes.of_beams(orders.cycles / mask.slm_um, orders.amplitudes, (half_x_um, half_y_um))
        return self._as_built(made, config, key)

    def _as_built(self, fringes: Fringes, config: StructuredIlluminationConfig, key: int) -> Fringes:
        """With the contrast of each direction, and the phase error of this pattern: real optics are not perfect."""
        directions = 3 if config.hexagonal else config.angles
        contrast = np.broadcast_to(np.asarray(self._options.fringe_contrast, float), (directions,))
        turned = np.degrees(np.arctan2(fringes.per_um[:, 1], fringes.per_um[:, 0])) - config.first_angle_deg
        nearest = np.rint(turned / (180 / directions)).astype(int) % directions
        error = np.radians(self._options.phase_error_deg) * np.random.default_rng((self._seed, 5, key)).normal()
        finest = np.hypot(*fringes.per_um.T).max(initial=np.finfo(float).tiny)
        share = np.hypot(*fringes.per_um.T) / finest  # a shifted grating turns coarse fringes less than fine ones
        # a wave may be written with either sign of its frequency; the error counts along the direction asked for
        sign = np.where(np.cos(np.radians(turned - nearest * 180 / directions)) < 0, -1, 1)
        depths = fringes.depths * contrast[nearest] * np.exp(1j * error * share * sign)
        return replace(fringes, depths=depths)

    # ---------------------------------------------------------------- light in the sample

    def at(self, places_um: Points, view: View, pattern: Pattern | None) -> npt.NDArray[np.float64]:
        """Relative light (N,) at places (N, 2): the disc around the axis, times the pattern.

        Remembered for places that cannot change (a read-only array): a still specimen asks a hundred times a second.
        """
        if places_um.flags.writeable:
            return self._at(places_um, view, pattern)
        key = (id(places_um), id(pattern), view.stage_um)
        if key not in self._asked:
            self._asked[key] = places_um, pattern, self._at(places_um, view, pattern)
            if len(self._asked) > _REMEMBERED:
                self._asked.popitem(last=False)
        return self._asked[key][2].copy()

    def _at(self, places_um: Points, view: View, pattern: Pattern | None) -> npt.NDArray[np.float64]:
        light = view.lit(places_um, 0.0).astype(np.float64)
        if pattern is None:
            return light
        whole = replace(view, roi=Roi(0, 0, view.sensor_shape[1], view.sensor_shape[0]))
        pixels = whole.to_pixels(places_um)
        if isinstance(pattern, Fringes):
            from_axis = (pixels - np.asarray(whole.centre_px())) * view.pixel_um
            light *= pattern.at(from_axis[:, 0], from_axis[:, 1])
        else:
            scale = np.array(pattern.shape) / np.array(view.sensor_shape)
            column, row = np.floor((pixels + 0.5) * scale[::-1]).astype(int).T
            inside = (row >= 0) & (row < pattern.shape[0]) & (column >= 0) & (column < pattern.shape[1])
            light *= np.where(inside, pattern[row * inside, column * inside], 0.0)
        return light

    def light(self, view: View, pattern: Pattern | None) -> Light:
        """The light of an exposure, for a specimen to render in."""
        if self._lit is None or self._lit[0] != view.roi or self._lit[1] is not pattern:
            self._lit = view.roi, pattern, *self._pixels(view, pattern)
        return Light(lambda places_um: self.at(places_um, view, pattern), self._lit[2], self._lit[3])

    def _pixels(self, view: View, pattern: Pattern | None) -> tuple[Picture | None, Picture | None]:
        """Of each pixel, and of the haze behind it; None where it is full everywhere."""
        roi, (height, width) = view.roi, view.sensor_shape
        rows, columns = roi.y + np.arange(roi.height), roi.x + np.arange(roi.width)
        down = (rows - (height - 1) / 2).astype(np.float64)
        along = (columns - (width - 1) / 2).astype(np.float64)
        disc = (down[:, None] ** 2 + along**2 < (view.lit_radius_um / view.pixel_um) ** 2).astype(np.float32)
        if pattern is None:
            return (None, None) if disc.all() else (disc, disc)
        if isinstance(pattern, Fringes):
            x_um, y_um = along * view.pixel_um, down * view.pixel_um
            lit = (disc * part for part in (pattern.on_grid(x_um, y_um), pattern.extent(x_um, y_um)))
            fine, coarse = (np.asarray(part, np.float32) for part in lit)
            return fine, coarse
        shown = np.ix_(
            (2 * rows + 1) * pattern.shape[0] // (2 * height), (2 * columns + 1) * pattern.shape[1] // (2 * width)
        )
        lit_pixels = np.asarray(disc * pattern[shown], np.float32)
        return lit_pixels, lit_pixels
