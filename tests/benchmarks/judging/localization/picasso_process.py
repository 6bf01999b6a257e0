"""Picasso by its public calls, in a Python of its own: one request in each line of JSON, one answer in each.

Needs picassosr and nothing of this project; ``picasso_peer.py`` starts it. Nothing of Picasso is copied.
"""

import csv
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
from picasso import __version__, gaussmle, localize  # noqa: E402
from picasso.fitting import precision  # noqa: E402

HALF = 0.5
"""Pixels: Picasso counts from pixel centres, lists from the outer corner."""
PIXEL_VARIANCE_PX2 = 1 / 12
"""Picasso's Gaussian is not integrated over the pixel: its widths hold the pixel's own."""


def answer(request):
    """By the name of what is asked for."""
    return {"versions": versions, "localize": run_localize, "load": load, "fit": fit, "save": save}[request["do"]](
        request
    )


def versions(request):
    """Of what its figures depend on."""
    import numba

    return {"picassosr": __version__, "numba": numba.__version__, "numpy": np.__version__}


def run_localize(request):
    """A movie (``frames``: .npy of counts) to a ThunderSTORM list; every frame's time if they are taken one by one."""
    movie, camera = np.load(request["frames"], mmap_mode="r"), json.loads(Path(request["camera"]).read_text())
    pieces, wall_ms, cpu_ms = [], [], []
    step = 1 if request.get("one_by_one") else len(movie)
    _localized(movie[:1], camera, request, 0)  # compiled
    for first in range(0, len(movie), step):
        began, began_cpu = time.perf_counter(), time.process_time()
        pieces.append(_localized(movie[first : first + step], camera, request, first))
        wall_ms.append(1e3 * (time.perf_counter() - began))
        cpu_ms.append(1e3 * (time.process_time() - began_cpu))
    if request.get("out"):
        _write(request["out"], pieces, camera)
    return {"found": sum(len(piece) for piece in pieces), "wall_ms": wall_ms, "cpu_ms": cpu_ms}


def _localized(movie, camera, request, first):
    frames, height, width = movie.shape
    told = {
        "Baseline": camera["offset_adu"],
        "Sensitivity": camera["electrons_per_adu"],
        "Gain": camera["em_gain"],
        "Qe": camera["quantum_efficiency"],
        "Pixelsize": camera["pixel_size_nm"],
    }
    found, _ = localize.localize(
        movie,
        camera_info=told,
        identification_parameters={"Min. Net Gradient": request["gradient"], "Box Size": request["box"]},
        movie_info=[{"Frames": frames, "Height": height, "Width": width, "Pixelsize": camera["pixel_size_nm"]}],
        fitting_method=request["method"],
        calibration_3d=_heights(camera),
        camera_calibration=_maps(camera, Path(request["camera"]).parent),
        threaded=False,
    )
    found["frame"] += first
    return found


def _maps(camera, folder):
    """Offset, variance (counts²) and gain (counts per electron) of each pixel."""
    if "maps" not in camera:
        return None
    offset, step, variance = (
        np.load(folder / camera["maps"][name]) for name in ("offset_adu", "electrons_per_adu", "read_variance_e2")
    )
    return {"offset": offset, "variance": variance / step**2, "gain": 1 / step}


def _heights(camera):
    """Polynomials of sixth degree through the known curves of width over height, as its calibration gives them."""
    spot = camera["psf"]
    if spot["model"] != "astigmatic":
        return None
    z = np.linspace(-700, 700, 141)
    curves = [
        np.sqrt(
            spot["sigma_px"] ** 2 * (1 + ((z - side * spot["focal_offset_nm"]) / spot["focal_depth_nm"]) ** 2)
            + PIXEL_VARIANCE_PX2
        )
        for side in (1, -1)
    ]
    x, y = (np.polyfit(z, curve, 6).tolist() for curve in curves)
    return {"X Coefficients": x, "Y Coefficients": y, "Magnification factor": 1.0}


def _write(path, pieces, camera):
    pixel, efficiency = camera["pixel_size_nm"], camera["quantum_efficiency"]
    deep = camera["psf"]["model"] == "astigmatic"
    with Path(path).open("w", newline="") as file:
        table = csv.writer(file)
        named = ["frame", "x [nm]", "y [nm]", "intensity [photon]", "uncertainty_xy [nm]"]
        table.writerow([*named, "z [nm]"] if deep else named)
        for piece in pieces:
            columns = [piece[name].to_numpy(float) for name in ("frame", "x", "y", "photons", "lpx", "lpy")]
            z = piece["z"].to_numpy(float) if deep else np.zeros(len(piece))
            for frame, x, y, electrons, error_x, error_y, height in zip(*columns, z, strict=True):
                error = ((error_x**2 + error_y**2) / 2) ** 0.5 * pixel
                row = [int(frame), (x + HALF) * pixel, (y + HALF) * pixel, electrons / efficiency, error]
                table.writerow([*row, height] if deep else row)


STATE = {}


def load(request):
    """Cut-out spots (N, S, S) in electrons."""
    STATE["spots"] = np.ascontiguousarray(np.load(request["spots"]), np.float32)
    return {"spots": len(STATE["spots"])}


def fit(request):
    """All spots once, one thread; the processor time of it."""
    spots, how = STATE["spots"], FITS[request["how"]]
    began, began_cpu = time.perf_counter(), time.process_time()
    STATE["fitted"] = how(spots)
    return {"cpu_s": time.process_time() - began_cpu, "wall_s": time.perf_counter() - began}


def _levenberg(spots, spherical):
    return localize.fit_spots_gauss(spots, mle=True, spherical=spherical)


def _levenberg_with_errors(spots, spherical):
    theta = _levenberg(spots, spherical)
    return theta, precision._gauss_crlb(theta, spots.shape[1], False)


FITS = {
    "round": lambda spots: _levenberg(spots, True),
    "round, errors": lambda spots: _levenberg_with_errors(spots, True),
    "round, Newton": lambda spots: gaussmle.gaussmle(spots, 0.001, 100, method="sigma"),
    "elliptical": lambda spots: _levenberg(spots, False),
    "elliptical, errors": lambda spots: _levenberg_with_errors(spots, False),
    "elliptical, Newton": lambda spots: gaussmle.gaussmle(spots, 0.001, 100, method="sigmaxy"),
}
"""Maximum likelihood all; Newton's is the older code, which states errors too."""


def save(request):
    """(N, 2): x and y of what was fitted last, pixels of the cut-out."""
    fitted, newton = STATE["fitted"], "Newton" in request["how"]
    theta = fitted[0] if isinstance(fitted, tuple) else fitted
    np.save(request["out"], theta[:, [0, 1]] if newton else theta[:, [1, 2]])
    return {}


def main():
    """Until there are no more lines."""
    told, sys.stdout = sys.stdout, sys.stderr  # what Picasso prints is no answer
    for line in sys.stdin:
        try:
            said = answer(json.loads(line))
        except Exception as error:  # told to whoever asked
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=told, flush=True)


if __name__ == "__main__":
    main()
