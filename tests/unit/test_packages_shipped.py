"""Every shipped package keeps its promises with every engine that is installed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smartscope_models.engines import findings
from smartscope_models.packages import open_package
from smartscope_models.packages.opening import SHIPPED
from smartscope_models.packages.verify import verify

PROVED = ("opens", "files", "hashes", "rdf.yaml", "opset", "operators")
"""Checks that need no GPU and no luck: with the extra ``dev`` none of them may be skipped."""
MOST_BYTES, MOST_PARAMETERS = 3 * 2**20, 600_000
"""Of one file, and of one network."""
EVERY_RUNTIME = "onnx, onnxruntime, openvino, torch, tensorrt_rtx, bioimageio"


@pytest.mark.parametrize("folder", sorted(SHIPPED.glob("[!._]*")), ids=lambda folder: folder.name)
def test_every_shipped_package(folder: Path) -> None:
    report = verify(folder)
    assert [check for check in report.checks if check.status == "failed"] == []
    assert [check for check in report.checks if check.name.startswith(PROVED) and check.status != "ok"] == []
    answers = [check for check in report.checks if check.name.endswith("second size") and check.status == "ok"]
    answered = {check.name.split()[0] for check in answers}
    usable = {finding.name for finding in findings() if finding.usable}
    assert {"onnxruntime", "openvino", "torch"} & usable <= answered
    package = open_package(folder)
    assert package.manifest.name == folder.name
    assert package.manifest.parameters <= MOST_PARAMETERS
    assert all(len(network.onnx) <= MOST_BYTES for network in package.networks.values())
    assert package.manifest.training is not None, "it could not be made again"


def test_looking_at_packages_loads_no_runtime() -> None:
    program = f"""
import sys
from smartscope_models.packages.tools import PackageTools
PackageTools().listing()
print([name for name in "{EVERY_RUNTIME}".split(", ") if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"
