"""Which denoiser a file gets: what was named, a plug-in or a package; else the network where an engine is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from packages_helpers import write_tiny_denoiser

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import PluginError
from smartscope.ports import Instrument, model_facts
from smartscope.processing import process_file
from smartscope_models.denoise import choosing
from smartscope_models.denoise.denoiser import VarianceStabilisedDenoiser
from smartscope_models.denoise.network import NetworkDenoiser

pytest.importorskip("onnxruntime", reason="the extra 'onnxruntime' is not installed")
INSTRUMENT = Instrument(CameraCalibration(), OpticsConfig())


def test_the_network_is_taken_where_an_engine_is_there() -> None:
    name, model = choosing.chosen_denoiser(None, {}, INSTRUMENT)
    assert name == "denoise_network"
    assert isinstance(model, NetworkDenoiser)
    assert model.package.manifest.name == "denoise_frame"


def test_without_an_engine_the_classical_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "findings", tuple)
    name, model = choosing.chosen_denoiser(None, {}, INSTRUMENT)
    assert name == "denoise"
    assert isinstance(model, VarianceStabilisedDenoiser)
    assert model_facts(model) == {}


def test_a_package_is_named_by_its_name_or_path(tmp_path: Path) -> None:
    write_tiny_denoiser(tmp_path / "tiny", 2)
    for asked, history in (("denoise_causal", 2), ("denoise_frame", 0), (str(tmp_path / "tiny"), 2)):
        name, model = choosing.chosen_denoiser(asked, {"engine": "onnxruntime"}, INSTRUMENT)
        assert (name, model.history) == (asked, history)
        assert model_facts(model)["engine"] == "onnxruntime"


def test_a_name_that_nobody_has_is_refused() -> None:
    with pytest.raises(PluginError, match="no plug-in named 'denois'"):
        choosing.chosen_denoiser("denois", {}, INSTRUMENT)


def test_the_report_tells_engine_hash_and_trust(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(200, (2, 64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", counts, photometric="minisblack")
    (tmp_path / "camera.json").write_text(json.dumps({"offset_adu": 100, "electrons_per_adu": 1.0, "read_noise_e": 1}))
    process_file(
        "denoise",
        tmp_path / "in.tif",
        tmp_path / "out.tif",
        tmp_path / "camera.json",
        None,
        [],
        tmp_path / "report.json",
        model="denoise_frame",
        engine="onnxruntime",
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["engine"] == "onnxruntime"
    assert len(report["package_sha256"]) == 64
    assert 0 <= report["image_trust_least"] <= report["image_trust_median"] <= 1
    assert tifffile.imread(tmp_path / "out.tif").shape == counts.shape
