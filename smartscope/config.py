"""The whole YAML as frozen models: what keys exist, in which unit, within which range."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_\-]*$", max_length=64)]


class Section(BaseModel):
    """A part of the configuration: immutable, and no key is passed over in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CameraCalibration(Section):
    """How counts become electrons; the keys of ``camera.json``."""

    pixel_size_nm: Positive = 100.0
    """Size of a camera pixel in the sample."""
    offset_adu: NotNegative = 100.0
    electrons_per_adu: Positive = 0.46
    read_noise_e: NotNegative = 1.6
    """Root mean square; at the output for sCMOS, after the EM register for EMCCD."""
    quantum_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.82
    em_gain: Annotated[float, Field(ge=1)] = 1.0
    """Above 1 the camera is an EMCCD."""
    full_well_e: Positive = 30_000.0
    bit_depth: Annotated[int, Field(ge=8, le=16)] = 16
    offset_map: str | None = None
    """Path of a .npy file, (H, W), ADU."""
    gain_map: str | None = None
    """Path of a .npy file, (H, W), electrons per ADU."""
    read_noise_map: str | None = None
    """Path of a .npy file, (H, W), electrons."""
    read_variance_map: str | None = None
    """The same squared, for those who have that: path of a .npy file, (H, W), electrons squared."""

    @model_validator(mode="after")
    def _read_noise_once(self) -> Self:
        if self.read_noise_map is not None and self.read_variance_map is not None:
            raise ValueError("read_noise_map and read_variance_map say the same: name one")
        return self

    @property
    def saturation_adu(self) -> float:
        """Counts at which a pixel saturates: the converter's end or the full well, whichever comes first."""
        well_adu = self.offset_adu + self.full_well_e * self.em_gain / self.electrons_per_adu
        return min(float(2**self.bit_depth - 1), well_adu)


CAMERA_MAPS = ("offset_map", "gain_map", "read_noise_map", "read_variance_map")
"""Keys of ``CameraCalibration`` that name files."""


class SlmConfig(Section):
    """A light modulator whose pixels lie in a plane conjugate to the sample, behind the filter that selects orders."""

    shape: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]
    """(H, W), pixels."""
    pixel_size_nm: Positive
    """Of its pixels, seen in the sample."""
    device: str = ""
    """Micro-Manager label; empty: the core's SLM."""
    on_value: Annotated[int, Field(ge=1, le=255)] = 255
    """Grey value of the second phase; the first is 0."""


class GratingConfig(Section):
    """A grating that a device property moves and turns, in place of an SLM."""

    device: str
    property: str
    values: tuple[str, ...]
    """One for each raw frame, in the order of the stack."""


class StructuredIlluminationConfig(Section):
    """How the light comes as fringes: phase by phase inside angle by angle, and what steps them."""

    angles: Annotated[int, Field(ge=1, le=9)] = 3
    phases: Annotated[int, Field(ge=3, le=15)] = 3
    beams: Annotated[int, Field(ge=2, le=3)] = 2
    """Beams that interfere: 2 give one order, 3 a second of half the frequency."""
    hexagonal: bool = False
    """All three directions in each of seven frames; then angles is 1 and phases 7."""
    light: str = ""
    """Name of the light that makes the fringes; empty where there is one light only."""
    pupil_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Where the outer beams pass the objective's pupil: 1 is its rim, and the finest fringes."""
    first_angle_deg: float = 10.0
    """Direction of the first fringes' frequency, from x towards y."""
    slm: SlmConfig | None = None
    grating: GratingConfig | None = None

    @model_validator(mode="after")
    def _stepped_by_one_device(self) -> Self:
        if self.slm is not None and self.grating is not None:
            raise ValueError("fringes come from the slm or from the grating: name one")
        if self.grating is not None and len(self.grating.values) != self.angles * self.phases:
            frames = self.angles * self.phases
            raise ValueError(f"grating.values has {len(self.grating.values)} entries for {frames} raw frames")
        return self


class PointSpreadConfig(Section):
    """The image of one molecule, as it was calibrated."""

    model: Literal["gaussian", "astigmatic", "spline"] = "gaussian"
    """``gaussian``: round and flat; ``astigmatic``: its two widths tell the height; ``spline``: measured, from a file.
    """
    sigma_px: Positive | None = None
    """Standard deviation in focus, camera pixels; None: from numerical aperture and emission."""
    focal_offset_nm: float = 250.0
    """Astigmatic: x is sharpest at this height, y at its negative. sigma_x = sigma sqrt(1 + ((z - offset) / depth)^2).
    """
    focal_depth_nm: Positive = 400.0
    """Astigmatic: distance from its focus at which a width has grown by sqrt(2)."""
    range_nm: Positive = 500.0
    """Heights from minus to plus this are looked for."""
    file: str | None = None
    """Spline: path of the .npz file of its coefficients."""

    @model_validator(mode="after")
    def _spline_has_a_file(self) -> Self:
        if (self.model == "spline") != (self.file is not None):
            raise ValueError("a spline needs its file, and nothing else does")
        return self


class OpticsConfig(Section):
    """The objective and the colour."""

    numerical_aperture: Annotated[float, Field(gt=0, lt=1.7)] = 1.4
    emission_nm: Annotated[float, Field(ge=300, le=2000)] = 525.0
    illuminated_diameter_um: Positive = 80.0
    """Diameter of the evenly lit disc in the sample; power over this area is irradiance."""
    refractive_index: Annotated[float, Field(ge=1, le=2)] = 1.515
    point_spread: PointSpreadConfig = PointSpreadConfig()
    """For single molecules."""
    structured_illumination: StructuredIlluminationConfig | None = None
    """Where the light comes as fringes."""


class LightConfig(Section):
    """One light: which device lines switch it, who owns it, and how much of it reaches the sample."""

    name: Name
    wavelength_nm: Annotated[float, Field(ge=200, le=2000)] = 488.0
    owner: Literal["supervisor", "controller"] = "supervisor"
    """Who opens the device: the supervisor process (a lease), or the controller (shared hub, hardware gating)."""
    device: str = ""
    """Micro-Manager label of the device with the power property."""
    power_property: str = ""
    """Its property that takes power."""
    power_per_mw: Positive = 1.0
    """Units of that property for 1 mW (1 if the property is in mW)."""
    switch_device: str = ""
    """Label of the device that switches the light; empty: the same device."""
    switch_property: str = ""
    """Property that switches; empty: a shutter device, or none."""
    switch_on: str = "1"
    switch_off: str = "0"
    """Values of that property."""
    cfg_lines: tuple[str, ...] = ()
    """Lines that the supervisor loads to open the light; empty: those of the .cfg that reach its devices."""
    gated_by_camera: bool = False
    """The camera's exposure-out line gates the light, so it is on during exposures only."""
    transmission: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Fraction of the set power that arrives in the sample."""
    settling_ms: NotNegative = 1.0


class StageConfig(Section):
    """Where the stage labels are, when the driver needs them, and how stage and camera lie to each other."""

    affine_um_per_px: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Measured by ``smartscope calibrate stage``; stage-follow refuses without it."""


class MicroscopeConfig(Section):
    """Which driver, and what is true of the instrument whatever drives it."""

    driver: str = "simulated"
    """Entry point of the group ``smartscope.microscopes``, or ``package.module:Class``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The driver's own settings; ``smartscope schema config`` lists them."""
    sensor: tuple[Annotated[int, Field(ge=16, le=16384)], Annotated[int, Field(ge=16, le=16384)]] = (512, 512)
    """Height and width in pixels; real cameras report their own."""
    camera: CameraCalibration = CameraCalibration()
    optics: OpticsConfig = OpticsConfig()
    lights: tuple[LightConfig, ...] = ()
    stage: StageConfig = StageConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [light.name for light in self.lights]
        if len(set(names)) < len(names):
            raise ValueError(f"light names must differ, got {names}")
        return self


class RoiConfig(Section):
    """Part of the sensor, in pixels."""

    x: Annotated[int, Field(ge=0)]
    y: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=16)]
    height: Annotated[int, Field(ge=16)]


class StartConfig(Section):
    """Settings of the first frame."""

    exposure_ms: Positive = 10.0
    lights_mw: dict[str, NotNegative] = Field(default_factory=dict)
    x_um: float | None = None
    """None: where the stage is."""
    y_um: float | None = None
    z_um: float | None = None
    roi: RoiConfig | None = None


class Range(Section):
    """Closed interval."""

    low: Annotated[float, Field(allow_inf_nan=False)]
    high: Annotated[float, Field(allow_inf_nan=False)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class LightLimits(Section):
    """How far one light may go."""

    max_power_mw: NotNegative
    max_step_mw: Positive | None = None
    """Largest rise in one command; falling is never limited."""
    max_duty: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Largest fraction of the last ten seconds that the light may be on."""


class LimitsConfig(Section):
    """The walls around every command, whoever asks."""

    exposure_ms: Range = Range(low=0.1, high=1000.0)
    lights: dict[str, LightLimits] = Field(default_factory=dict)
    """A light without limits stays off."""
    x_um: Range | None = None
    """None: the stage may not move along x."""
    y_um: Range | None = None
    z_um: Range | None = None
    max_stage_step_um: Positive = 50.0
    max_focus_step_um: Positive = 5.0
    min_roi_px: Annotated[int, Field(ge=16)] = 32
    on_violation: Literal["clip", "refuse"] = "clip"
    clamped_fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    """``--arm clamped``: powers and steps are limited to this fraction of the limits."""


class DoseConfig(Section):
    """How much light a place of the sample may get."""

    budget_j_per_cm2: Positive | None = None
    """None: counted, not limited."""
    max_photons_per_pixel: Positive | None = None
    """Emitted-photon budget is not measurable; this one counts excitation photons delivered per pixel area."""
    field_um: Positive = 25.0
    """Edge of the ledger's squares: each keeps its own account."""


class StageOfPipeline(Section):
    """One model of the pipeline."""

    model: str
    """Entry point of ``smartscope.models``, or ``package.module:Class``."""
    deadline_ms: Positive = 100.0
    """An answer later than this is discarded."""
    virtual_ms: NotNegative = 5.0
    """How long it takes in virtual time."""
    options: dict[str, Any] = Field(default_factory=dict)
    fallback: str | None = None
    """Model that takes over when this one fails, hangs, or is late too many times in a row; warmed up beside it."""
    fallback_options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _options_have_a_model(self) -> Self:
        if self.fallback_options and self.fallback is None:
            raise ValueError("fallback_options without fallback: name the model that they are for")
        return self


class PolicyConfig(Section):
    """One policy with its rank."""

    policy: str
    """Entry point of ``smartscope.policies``, or ``package.module:Class``."""
    priority: int = 0
    """The higher one owns a setting that two ask for."""
    enabled: bool = True
    virtual_ms: NotNegative = 0.2
    options: dict[str, Any] = Field(default_factory=dict)


class SafetyConfig(Section):
    """How quickly the light goes off when something is wrong."""

    lease_ms: Annotated[float, Field(ge=20, le=1000)] = 50.0
    """The supervisor darkens a light whose set-point was not renewed for so long."""
    heartbeat_ms: Annotated[float, Field(ge=10, le=5000)] = 40.0
    """A controller thread silent for longer counts as stuck: dark."""
    device_call_ms: Annotated[float, Field(ge=100)] = 5000.0
    """A stage, focus, filter or camera restart under way for longer counts as stuck: the run ends in the dark."""
    max_lapses_per_minute: Annotated[int, Field(ge=0)] = 30
    """More lease lapses than this end the run."""
    on_fault: Literal["dark", "plan"] = "dark"
    """A failing model or policy: end the run in the dark, or take its say away and keep the settings as they are."""
    max_result_age_ms: Positive = 1000.0
    """Results older than this, from the middle of the exposure, drive nothing."""
    min_image_trust: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Below this, policies are shown the raw frame's values alone, and nothing of a denoised image."""
    hand_over: bool = True
    """Arming first performs the hand-over of light once, at zero power."""


class RecorderConfig(Section):
    """What is kept on disk."""

    enabled: bool = True
    frames: bool = True
    processed_every: Annotated[int, Field(ge=0)] = 50
    """Keep every n-th denoised image; 0: none."""
    super_resolved_every: Annotated[int, Field(ge=0)] = 1
    """Keep every n-th super-resolved image; 0: none."""
    localizations_csv: bool = True
    """Beside localizations.npy keep a copy for ThunderSTORM up to date; ``smartscope export`` makes the same later."""
    compression: Literal["none", "lz4"] = "lz4"
    queue_mb: Positive = 1024.0
    """Frames waiting for the disk may take so much memory; more is a fault."""
    chunk_mb: Positive = 8.0
    flush_s: Positive = 1.0
    min_free_gb: NotNegative = 1.0
    """Refuse to start, and stop, when the disk has less left."""


class BusConfig(Section):
    """Where clients connect."""

    enabled: bool = True
    host: str = "127.0.0.1"
    """Anything but loopback is refused without CURVE keys."""
    events_port: Annotated[int, Field(ge=0, le=65535)] = 5601
    """0 takes a free port."""
    data_port: Annotated[int, Field(ge=0, le=65535)] = 5602
    control_port: Annotated[int, Field(ge=0, le=65535)] = 5603
    preview_hz: NotNegative = 30.0
    """Frames per second published on the data endpoint at most; 0: every frame."""
    curve_keys: str | None = None
    """Folder made by ``smartscope keys new``: server key, allowed operator and read-only client keys."""


class ExperimentConfig(Section):
    """One YAML file, one experiment."""

    name: Name = "experiment"
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    frames: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many frames."""
    duration_s: Positive | None = None
    """Stop after so long."""
    clock: Literal["live", "virtual"] = "live"
    arm: Literal["shadow", "clamped", "armed"] = "armed"
    output: str = "runs"
    """Folder in which a folder for the run is made."""
    frame_timeout_s: Positive = 2.0
    """A camera that sends nothing for so long, beyond its exposure, has failed."""
    microscope: MicroscopeConfig = MicroscopeConfig()
    start: StartConfig = StartConfig()
    limits: LimitsConfig = LimitsConfig()
    dose: DoseConfig = DoseConfig()
    safety: SafetyConfig = SafetyConfig()
    pipeline: tuple[StageOfPipeline, ...] = ()
    policies: tuple[PolicyConfig, ...] = ()
    recorder: RecorderConfig = RecorderConfig()
    bus: BusConfig = BusConfig()
