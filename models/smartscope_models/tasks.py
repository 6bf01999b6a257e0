"""``smartscope process denoise | detect | track``: the live models on files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smartscope import plugins
from smartscope.errors import ConfigurationError, Problem, StageFailed
from smartscope.frame import Frame, Pixels
from smartscope.ports import Instrument, Model, TaskInputs, model_facts
from smartscope.result import Detections, Result
from smartscope_models.denoise.choosing import chosen_denoiser
from smartscope_models.detection.objects import detections_of
from smartscope_models.detection.writing import masks_writer, write_detections
from smartscope_models.estimate import chosen_frames, estimate_noise
from smartscope_models.movies import FloatTiffWriter, TiffMovie, as_frame, written_whole
from smartscope_models.tables import NEEDED, DetectionTable, read_detections, write_table
from smartscope_models.tracking import KalmanTracker
from smartscope_models.tracking.sightings import Outcome

Report = Callable[[int, int], None]
Identities = np.ndarray[Any, np.dtype[np.int64]]
TRACK_COLUMNS = ("frame", "track_id", "x_px", "y_px", "parent_id")
DETECTOR = "smartscope_models.detection:ObjectDetector"
"""The model unless another is named."""
CELL_SIZE_PX = 6.0
"""Objects of a table without ``label`` count as cells where their median size is above this."""


class DenoiseTask:
    """TIFF → float32 TIFF in counts, offset included.

    Options: ``model`` (a model or a model package; the shipped network, where an engine is there), and the model's.
    """

    def run(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        """Denoise every frame; raises InputError for a movie that cannot be read, StageFailed if no image came back."""
        with TiffMovie(inputs.source) as movie, written_whole(inputs.output, inputs.source) as part:
            instrument, known = instrument_for(movie, inputs)
            asked = inputs.options.get("model")
            name, model = chosen_denoiser(str(asked) if asked else None, _own(inputs.options), instrument)
            watch, trust = Stopwatch(), list[float]()
            with FloatTiffWriter(part, len(movie), movie.shape) as writer:
                for frame, result in results(model, movie, watch):
                    if result.image is None:
                        raise StageFailed(f"{name} gave no image of frame {frame.index}", remedy="choose a denoiser")
                    writer.write(result.image)
                    trust += [] if result.image_trust is None else [result.image_trust]
                    report(frame.index + 1, len(movie))
        judged = {"image_trust_median": float(np.median(trust)), "image_trust_least": min(trust)} if trust else {}
        return {"model": name, **model_facts(model), **watch.figures(), **judged, **known}


class DetectTask:
    """TIFF → CSV ``frame,x_px,y_px,size_px,intensity,label``; a network's with ``probability`` and what else it says.

    Options: ``model`` (``detect``), those of the model, and ``masks``: a TIFF of outlines beside the table. In it a
    pixel is the object's ``mask_id``, a further column of the table; 0 where none is, and of spots, which have none.
    """

    def run(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        """Detect in every frame.

        Raises:
            InputError: the movie cannot be read.
            PluginError: masks are asked of a model that tells no outlines.
        """
        options = dict(inputs.options)
        masks = options.pop("masks", None)
        with TiffMovie(inputs.source) as movie, written_whole(inputs.output, inputs.source) as part:
            instrument, known = instrument_for(movie, inputs)
            name, model = named_model(options, "model", DETECTOR, instrument)
            watch = Stopwatch()
            with masks_writer(masks, inputs.source, name, model, movie) as draw:
                count = write_detections(part, results(model, movie, watch), len(movie), report, draw)
        return {"model": name, **model_facts(model), "detections": count, **watch.figures(), **known}


class TrackTask:
    """TIFF or detections CSV → CSV ``frame,track_id,x_px,y_px,parent_id``, each detection in its own place.

    Further columns of a CSV are carried through. Options: ``output`` (``now``, as known with each frame, or
    ``settled``, with some frames of hindsight), ``detector`` (TIFF), and those of detector and tracker.
    """

    def run(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        """Follow every object.

        Raises:
            InputError: the movie or table cannot be read.
            ConfigurationError: no such output.
        """
        if Path(inputs.source).suffix.lower() == ".csv":
            return self._table(inputs, report)
        return self._movie(inputs, report)

    def _table(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        table = read_detections(inputs.source)
        options, settled = _track_options(inputs.options)
        with written_whole(inputs.output, inputs.source) as part:
            options = {key: value for key, value in options.items() if key not in _RESERVED}
            options.setdefault("spots_divide", True)  # a table does not say what its points are
            tracker: KalmanTracker = plugins.build("models", "track", options, inputs.instrument)
            watch = Stopwatch()
            ids, parents = _follow_table(tracker, table, settled, watch, report)
            carried = {name: column for name, column in table.others.items() if name not in TRACK_COLUMNS}
            frame, x, y = (table.numbers[name].tolist() for name in NEEDED)
            rows = (
                (int(frame[n]), int(ids[n]), x[n], y[n], int(parents[n]), *(column[n] for column in carried.values()))
                for n in np.argsort(frame, kind="stable").tolist()
            )
            write_table(part, (*TRACK_COLUMNS, *carried), rows)
        return {"model": "track", "tracks": len(np.unique(ids)), **watch.figures()}

    def _movie(self, inputs: TaskInputs, report: Report) -> Mapping[str, Any]:
        given, settled = _track_options(inputs.options)
        with TiffMovie(inputs.source) as movie, written_whole(inputs.output, inputs.source) as part:
            instrument, known = instrument_for(movie, inputs)
            tracker_keys = set(plugins.options_model(KalmanTracker).model_fields)
            mine = {key: value for key, value in given.items() if key in tracker_keys}
            rest = {key: value for key, value in given.items() if key not in tracker_keys}
            name, detector = named_model(rest, "detector", "detect_spots", instrument)
            tracker: KalmanTracker = plugins.build("models", "track", mine, instrument)
            tracker.warm_up(movie.shape)
            watch = Stopwatch()
            count = write_table(part, TRACK_COLUMNS, _track_rows(detector, tracker, movie, settled, watch, report))
        return {"model": f"{name}, track", "points": count, **watch.figures(), **known}


OUTPUTS = ("now", "settled")


def _track_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The other options, and whether settled identities are asked for; those need a lag."""
    output = options.get("output", "now")
    rest = {key: value for key, value in options.items() if key != "output"}
    if output not in OUTPUTS or (output == "settled" and rest.get("lag_frames", 1) == 0):
        what = "is no output" if output not in OUTPUTS else "is nothing without a lag"
        problem = Problem("output", str(output), what, allowed=", ".join(OUTPUTS), remedy="or give lag_frames above 0")
        raise ConfigurationError("--output", [problem])
    return rest, output == "settled"


_RESERVED = ("camera_given", "model", "detector")


class Stopwatch:
    """Wall and CPU time of each frame's own work, files left out."""

    def __init__(self) -> None:
        self._wall_ns: list[int] = []
        self._cpu_ns = 0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter_ns(), time.process_time_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self._wall_ns.append(time.perf_counter_ns() - self._start[0])
        self._cpu_ns += time.process_time_ns() - self._start[1]

    def figures(self) -> dict[str, float]:
        """Number of frames, median and 99th percentile of wall time, mean CPU time, in ms."""
        wall_ms = np.array(self._wall_ns) / 1e6
        return {
            "frames": len(wall_ms),
            "median_ms": float(np.median(wall_ms)),
            "p99_ms": float(np.percentile(wall_ms, 99)),
            "cpu_ms_per_frame": self._cpu_ns / 1e6 / len(wall_ms),
        }


def instrument_for(movie: TiffMovie, inputs: TaskInputs) -> tuple[Instrument, dict[str, Any]]:
    """The instrument as given, or with a camera fitted to the movie; and what was fitted."""
    if inputs.options.get("camera_given", True):
        return inputs.instrument, {}
    noise = estimate_noise([movie.pixels(index) for index in chosen_frames(len(movie))])
    camera = noise.calibration(inputs.instrument.camera, movie.bits)
    fitted = ("electrons_per_adu", "offset_adu", "read_noise_e")
    figures: dict[str, Any] = {f"estimated_{key}": getattr(camera, key) for key in fitted}
    figures["estimated_noise_correlation"] = max(noise.lag1_x, noise.lag1_y, key=abs)
    return Instrument(camera, inputs.instrument.optics), {**figures, "warnings": list(noise.warnings)}


def named_model(options: Mapping[str, Any], key: str, default: str, instrument: Instrument) -> tuple[str, Model]:
    """The model that the options name, built with the options that are left."""
    name = str(options.get(key) or default)
    return name, plugins.build("models", name, _own(options), instrument)


def _own(options: Mapping[str, Any]) -> dict[str, Any]:
    return {option: value for option, value in options.items() if option not in _RESERVED}


def results(model: Model, movie: TiffMovie, watch: Stopwatch) -> Iterator[tuple[Frame, Result]]:
    """Every frame through the model, with as many earlier ones as it wants."""
    model.warm_up(movie.shape)
    recent: list[Frame] = []
    for frame in movie.frames():
        recent = [*recent, frame][-(model.history + 1) :]
        with watch:
            result = model.step(recent, Result(frame))
        yield frame, result


def _track_rows(
    detector: Model, tracker: KalmanTracker, movie: TiffMovie, settled: bool, watch: Stopwatch, report: Report
) -> Iterator[tuple[object, ...]]:
    places: dict[int, Detections] = {}
    for frame, result in results(detector, movie, watch):
        if (found := result.detections) is not None:
            places[frame.index] = found
            live, final = tracker.follow(frame, found)
            if not settled:
                yield from _named_rows(frame.index, places.pop(frame.index), live)
            elif final is not None:
                yield from _named_rows(final.index, places.pop(final.index), final.named)
        report(frame.index + 1, len(movie))
    for final in tracker.finish() if settled else ():
        yield from _named_rows(final.index, places.pop(final.index), final.named)


def _named_rows(index: int, found: Detections, named: Outcome) -> Iterator[tuple[object, ...]]:
    columns = (named.track_id, found.x_px, found.y_px, named.parent_id)
    for track_id, x, y, parent_id in zip(*(column.tolist() for column in columns), strict=True):
        yield index, track_id, x, y, parent_id


def _follow_table(
    tracker: KalmanTracker, table: DetectionTable, settled: bool, watch: Stopwatch, report: Report
) -> tuple[Identities, Identities]:
    """(N,) identities and mothers, frame by frame; live, nothing is taken from later frames."""
    frame_of = table.numbers["frame"].astype(np.int64)
    x, y = table.numbers["x_px"], table.numbers["y_px"]
    first, last = int(frame_of.min()), int(frame_of.max())
    size, intensity = table.column("size_px", 1.0), table.column("intensity", 1.0)
    label = table.column("label", float(np.median(size[frame_of == first]) > CELL_SIZE_PX))
    named, view = Outcome(np.full(len(table), -1), np.full(len(table), -1)), _View()
    order = np.argsort(frame_of, kind="stable")
    starts = np.searchsorted(frame_of[order], np.arange(first, last + 2))

    def note(index: int, of_frame: Outcome) -> None:
        rows = order[starts[index - first] : starts[index - first + 1]]
        named.track_id[rows], named.parent_id[rows] = of_frame.track_id, of_frame.parent_id

    tracker.warm_up((1, 1))
    for k, index in enumerate(range(first, last + 1)):
        rows = order[starts[k] : starts[k + 1]]
        found = detections_of(x[rows], y[rows], size[rows], intensity[rows], label[rows])
        view.widen(x[rows], y[rows])
        with watch:
            live, final = tracker.follow(as_frame(view.pixels(), index), found)
        if not settled:
            note(index, live)
        elif final is not None:
            note(final.index, final.named)
        report(k + 1, last + 1 - first)
    for final in tracker.finish() if settled else ():
        note(final.index, final.named)
    return named.track_id, named.parent_id


class _View:
    """The field of view of a table that does not tell it: the box around all detections so far."""

    def __init__(self) -> None:
        self._low, self._high = np.full(2, np.inf), np.full(2, -np.inf)

    def widen(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take in the detections of one more frame."""
        if len(x):
            self._low = np.minimum(self._low, (y.min(), x.min()))
            self._high = np.maximum(self._high, (y.max(), x.max()))

    def pixels(self) -> Pixels:
        """(H, W) of the box, without memory behind it: the tracker looks at the shape alone."""
        height, width = (np.ceil(self._high - self._low) + 1).astype(int)
        return np.broadcast_to(np.uint16(0), (int(height), int(width)))
