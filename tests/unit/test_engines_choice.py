"""Which engine is taken, which is passed over and why, and what is said when none is left."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
from small_networks import COPY, TINY_DENOISER, denoiser_inputs, expected, network, shapes
from typer.testing import CliRunner

from smartscope import doctor
from smartscope.cli import app
from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import AutoEngine, Engine, Finding, Network, Precision, choice, open_engine, probe
from smartscope_models.engines.checked import CheckedEngine
from smartscope_models.engines.choice import Refusal, Route
from smartscope_models.engines.engine import Array, Shape, Tensor

X = Tensor("x", np.dtype("f4"), ("height", "width"))
BODY: Mapping[Precision, Network] = {"fp32": network(COPY)}


class Doubler(CheckedEngine):
    """Multiplies by a number of its own; fails when told to."""

    def __init__(self, name: str, *, at: str = "", factor: float = 2) -> None:
        super().__init__(network(COPY), "fp32", (X, Tensor("by", np.dtype("f4"), ())), (X,))
        self.name, self.at, self.factor, self.by = name, at, factor, np.array(1, np.float32)
        self.released = False

    def _prepare(self, shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
        if self.at == "warm-up":
            raise RuntimeError("the GPU is full")
        if self.at == "large" and shapes["x"][0] > 8:
            raise EngineError("is too large")
        if self.at == "memory":
            raise MemoryError
        return {"x": shapes["x"]}

    def _hold(self, name: str, values: Array) -> None:
        if self.at == "hold":
            raise RuntimeError("the cable is out")
        self.by = values

    def _execute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        if self.at == "run":
            raise RuntimeError("first line\n  second line " + "x" * 1000)
        if self.at == "refuse":
            raise EngineError("its own words")
        outputs["x"][...] = inputs["x"] * self.factor * inputs.get("by", self.by)

    def _release(self) -> None:
        self.released = True


@pytest.fixture
def made() -> dict[str, Doubler]:
    """The engines that were opened, by name."""
    return {}


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch, made: dict[str, Doubler]) -> Callable[..., None]:
    """Set the ways to engines: None is not usable, an exception is raised when opened, text says where it fails."""

    def install(**ways: str | Exception | None) -> None:
        def opened(name: str, number: int) -> Callable[[Network, Precision, int], Engine]:
            def open_it(network: Network, precision: Precision, threads: int) -> Engine:
                way = ways[name]
                if isinstance(way, Exception):
                    raise way
                made[name] = Doubler(name, at=str(way), factor=number)
                return made[name]

            return open_it

        table = [Route(name, name, name, ("fp32",), opened(name, k + 1)) for k, name in enumerate(ways)]
        found = [
            Finding(name, way is not None, "1.0", "no driver" if way is None else "cpu") for name, way in ways.items()
        ]
        monkeypatch.setattr(choice, "ROUTES", tuple(table))
        monkeypatch.setattr(probe, "findings", lambda: tuple(found))

    return install


def ones(height: int = 4) -> dict[str, Array]:
    return {"x": np.ones((height, 4), np.float32), "by": np.array(1, np.float32)}


# ---------------------------------------------------------------- auto


def test_the_first_usable_is_taken(routes: Callable[..., None]) -> None:
    routes(gpu=None, cpu="", slow="")
    engine = open_engine(BODY)
    assert isinstance(engine, AutoEngine)
    assert (engine.name, engine.device, engine.precision) == ("cpu", "cpu", "fp32")
    assert engine.passed_over == [Refusal("gpu", "no driver")]
    assert engine.why == "cpu on cpu; passed over: gpu (no driver)"
    assert [tensor.name for tensor in (*engine.inputs, *engine.outputs)] == ["x", "by", "x"]


def test_nothing_spoke_against_the_first(routes: Callable[..., None]) -> None:
    routes(gpu="")
    assert open_engine(BODY).why == "gpu on cpu; passed over: none"


def test_one_that_cannot_be_opened_is_passed_over(
    routes: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    routes(gpu=UnsupportedModel("no such operator"), other=OSError("a library is missing"), cpu="")
    with caplog.at_level(logging.INFO):
        engine = open_engine(BODY)
    assert engine.name == "cpu"
    assert "gpu (no such operator); other (other is installed but cannot be used: OSError: a library" in engine.why
    assert "engine gpu is passed over: no such operator" in caplog.text
    assert "the network runs on cpu" in caplog.text


def test_one_that_cannot_be_warmed_up_is_replaced(
    routes: Callable[..., None], made: dict[str, Doubler], caplog: pytest.LogCaptureFixture
) -> None:
    routes(gpu="warm-up", other="warm-up", cpu="", slow="")
    engine = open_engine(BODY)
    assert engine.name == "gpu"
    engine.warm_up(shapes(ones()))
    assert engine.name == "cpu"
    assert (made["gpu"].released, made["other"].released, made["cpu"].released) == (True, True, False)
    assert "gpu (gpu, copy: cannot take the shapes" in engine.why
    assert "RuntimeError: the GPU is full" in engine.why
    assert "gpu cannot be warmed up" in caplog.text
    np.testing.assert_array_equal(engine.run(ones())["x"], np.full((4, 4), 3))
    engine.close()
    assert made["cpu"].released
    assert "slow" not in made


def test_held_inputs_go_with_the_network(routes: Callable[..., None], made: dict[str, Doubler]) -> None:
    routes(gpu="large", cpu="")
    engine = open_engine(BODY)
    engine.warm_up(shapes(ones(4)))
    engine.hold("by", np.array(10, np.float32))
    assert engine.run({"x": ones(4)["x"]})["x"][0, 0] == 10
    engine.warm_up(shapes(ones(16)))
    assert engine.name == "cpu"
    assert engine.run({"x": ones(16)["x"]})["x"][0, 0] == 20


def test_where_all_fail_the_engine_in_use_stays(routes: Callable[..., None], made: dict[str, Doubler]) -> None:
    routes(gpu="large", cpu="large", broken=ImportError("no module"))
    engine = open_engine(BODY)
    engine.warm_up(shapes(ones(4)))
    for _ in range(2):
        with pytest.raises(EngineError, match=r"no engine takes the network: is too large; .*no module"):
            engine.warm_up(shapes(ones(16)))
    assert engine.name == "gpu"
    engine.warm_up(shapes(ones(4)))
    assert engine.run(ones(4))["x"][0, 0] == 1
    assert made["cpu"].released
    assert not made["gpu"].released


def test_the_last_engine_speaks_for_itself(routes: Callable[..., None]) -> None:
    routes(cpu="large")
    engine = open_engine(BODY)
    with pytest.raises(EngineError, match=r"^is too large$"):
        engine.warm_up(shapes(ones(16)))


def test_shapes_that_no_engine_can_take_change_nothing(routes: Callable[..., None], made: dict[str, Doubler]) -> None:
    routes(gpu="", cpu="")
    engine = open_engine(BODY)
    with pytest.raises(UnsupportedModel, match="x cannot be"):
        engine.warm_up({"x": (4,), "by": ()})
    assert set(made) == {"gpu"}


def test_none_is_installed(routes: Callable[..., None]) -> None:
    routes(gpu=None, cpu=None)
    with pytest.raises(
        EngineError, match=r"no engine is installed: gpu \(no driver\); cpu .*pip install smartscope\[onnxruntime\]"
    ):
        open_engine(BODY)


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [
        ([UnsupportedModel("a"), UnsupportedModel("b")], UnsupportedModel),
        ([UnsupportedModel("a"), OSError("b")], EngineError),
    ],
)
def test_none_takes_the_network(routes: Callable[..., None], reasons: list[Exception], kind: type[EngineError]) -> None:
    routes(gpu=reasons[0], cpu=reasons[1])
    with pytest.raises(EngineError, match=r"no engine takes the network: a; .*b") as caught:
        open_engine(BODY)
    assert type(caught.value) is kind


# ---------------------------------------------------------------- by name, and which file


def test_by_name_it_is_that_or_an_error(routes: Callable[..., None]) -> None:
    routes(gpu=None, cpu="", broken=OSError("a library is missing"))
    engine = open_engine(BODY, engine="cpu")  # type: ignore[arg-type]
    assert (engine.name, engine.why) == ("cpu", "cpu was asked for by name")
    with pytest.raises(EngineError, match=r"engine gpu cannot be used here: gpu: no driver.*smartscope\[gpu\]"):
        open_engine(BODY, engine="gpu")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=r"broken is installed but.*smartscope\[broken\] --force-reinstall"):
        open_engine(BODY, engine="broken")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="no engine 'fpga'; allowed: auto, gpu, cpu, broken"):
        open_engine(BODY, engine="fpga")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("route", "holds", "asked", "taken"),
    [
        ("tensorrt_rtx", ("fp32", "fp16"), None, ("fp16", "fp16")),
        ("tensorrt", ("fp32",), None, ("fp32", "fp32")),
        ("tensorrt", ("fp32", "fp16"), "fp32", ("fp32", "fp32")),
        ("torch_cuda", ("fp32", "fp16"), None, ("fp16", "fp16")),
        ("onnxruntime", ("fp32", "fp16"), None, ("fp32", "fp32")),
        ("onnxruntime", ("fp32", "fp16"), "fp16", ("fp16", "fp16")),
        ("onnxruntime", ("fp16",), None, ("fp16", "fp16")),
        ("openvino", ("fp32", "fp16"), None, ("fp32", "fp32")),
        ("openvino", ("fp32", "fp16"), "bf16", ("bf16", "fp32")),
        ("openvino", ("fp32", "fp16"), "fp16", ("fp16", "fp32")),
        ("torch", ("fp32", "fp16"), None, ("fp32", "fp32")),
    ],
)
def test_precision_and_file(
    route: str, holds: tuple[Precision, ...], asked: Precision | None, taken: tuple[str, str]
) -> None:
    files = {precision: Network(precision, b"", "") for precision in holds}
    way = next(way for way in choice.ROUTES if way.finding == route)
    precision, file = choice._file(way, files, asked)
    assert (precision, file.name) == taken


@pytest.mark.parametrize(
    ("route", "holds", "asked", "message"),
    [
        ("onnxruntime", ("fp32",), "bf16", "no file of bf16 that onnxruntime takes; it has fp32; allowed: fp32, fp16"),
        ("openvino", ("fp16",), None, "it has fp16; allowed: fp32, bf16, fp16"),
        ("openvino", ("fp16",), "bf16", "no file of bf16"),
        ("tensorrt", (), None, "package: has no file of a precision that tensorrt takes; it has none"),
    ],
)
def test_no_such_precision(route: str, holds: tuple[Precision, ...], asked: Precision | None, message: str) -> None:
    files = {precision: Network("mine", b"", "") for precision in holds}
    with pytest.raises(UnsupportedModel, match=message):
        choice._file(next(way for way in choice.ROUTES if way.finding == route), files, asked)


# ---------------------------------------------------------------- the real engines

IMPORTS = ("onnxruntime", "openvino", "torch", "tensorrt_rtx", "tensorrt")


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_first_gpu", lambda: "libcuda.so.1 not found")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("blocked", "chosen"),
    [
        ((), "onnxruntime"),
        (("openvino",), "onnxruntime"),
        (("onnxruntime",), "openvino"),
        (("onnxruntime", "openvino"), "torch"),
    ],
)
def test_auto_with_imports_blocked(monkeypatch: pytest.MonkeyPatch, blocked: tuple[str, ...], chosen: str) -> None:
    without(monkeypatch, *blocked)
    inputs = denoiser_inputs(8, 8)
    engine = open_engine({"fp32": network(TINY_DENOISER)})
    assert engine.name == chosen
    assert all(f"{module} (not installed)" in engine.why for module in blocked)
    engine.warm_up(shapes(inputs))
    wanted = expected(network(TINY_DENOISER), inputs)["image"]
    np.testing.assert_allclose(engine.run(inputs)["image"], wanted, rtol=0, atol=2e-6 * wanted.max())
    engine.close()


@pytest.mark.parametrize("blocked", [IMPORTS, ("onnx",)])
def test_nothing_can_be_imported(monkeypatch: pytest.MonkeyPatch, blocked: tuple[str, ...]) -> None:
    without(monkeypatch, *blocked)
    with pytest.raises(EngineError, match=r"no engine is installed.*pip install smartscope\[onnxruntime\]"):
        open_engine(BODY)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("engine", "module"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("torch", "torch")]
)
def test_named_engines(monkeypatch: pytest.MonkeyPatch, engine: choice.EngineName, module: str) -> None:
    opened = open_engine(BODY, engine=engine)
    assert (opened.name, opened.device, opened.precision) == (engine, "cpu", "fp32")
    opened.close()
    without(monkeypatch, module)
    with pytest.raises(EngineError, match=rf"engine {engine} cannot .*pip install smartscope\[{engine}\]"):
        open_engine(BODY, engine=engine)


@pytest.mark.usefixtures("no_gpu")
def test_tensorrt_without_a_gpu() -> None:
    with pytest.raises(EngineError, match=r"engine tensorrt cannot be used here: tensorrt_rtx: .*; tensorrt: "):
        open_engine(BODY, engine="tensorrt")


def test_installed_but_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    with pytest.raises(EngineError, match="openvino is installed but cannot be used: AttributeError"):
        open_engine(BODY, engine="openvino")


@pytest.mark.parametrize("module", ["tensorrt_rtx", "tensorrt"])
def test_tensorrt_gets_its_module(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    asked: list[object] = []
    stands_in = ModuleType("smartscope_models.engines.tensorrt")
    stands_in.TensorRtEngine = lambda network, **options: asked.append((network, options))  # type: ignore[attr-defined]
    native = ModuleType(module)
    monkeypatch.setitem(sys.modules, stands_in.__name__, stands_in)
    monkeypatch.setitem(sys.modules, module, native)
    way = next(way for way in choice.ROUTES if way.finding == module)
    way.open(network(COPY), "fp16", 1)
    assert asked == [(network(COPY), {"module": native, "precision": "fp16"})]


def test_torch_gets_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    stands_in = ModuleType("smartscope_models.engines.torch_reference")
    stands_in.TorchEngine = lambda network, **options: asked.append(options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stands_in.__name__, stands_in)
    for finding, device in (("torch", "cpu"), ("torch_cuda", "cuda")):
        next(way for way in choice.ROUTES if way.finding == finding).open(network(COPY), "fp32", 3)
        assert asked.pop() == {"precision": "fp32", "threads": 3, "device": device}


def test_every_finding_has_a_route_in_the_same_order() -> None:
    assert [way.finding for way in choice.ROUTES] == [finding.name for finding in probe.findings()]


# ---------------------------------------------------------------- failures while running


def warm(at: str) -> Doubler:
    engine = Doubler("gpu")
    engine.warm_up(shapes(ones()))
    engine.at = at
    return engine


def test_what_a_device_says_comes_in_one_line() -> None:
    with pytest.raises(EngineError, match=r"^gpu, copy: failed: RuntimeError: first line second line x+\.\.\.$"):
        warm("run").run(ones())
    with pytest.raises(EngineError, match=r"^its own words$"):
        warm("refuse").run(ones())
    with pytest.raises(EngineError, match="failed: RuntimeError: the cable is out"):
        warm("hold").hold("by", np.array(1, np.float32))


def test_hoarded_outputs_are_counted() -> None:
    engine = warm("")
    engine.run(ones())
    assert engine.extra_outputs == 0
    hoard = [engine.run(ones()) for _ in range(12)]
    assert engine.extra_outputs == len(hoard) - 8


def test_no_memory_is_no_fault_of_the_network() -> None:
    engine = warm("memory")
    with pytest.raises(EngineError, match=r"no memory for the shapes.*smaller region") as caught:
        engine.warm_up(shapes(ones(16)))
    assert not isinstance(caught.value, UnsupportedModel)
    with pytest.raises(EngineError, match="not warmed up"):
        engine.run(ones(16))


# ---------------------------------------------------------------- doctor


def test_the_doctor_says_what_is_there_and_what_would_be_taken(routes: Callable[..., None]) -> None:
    routes(gpu=None, cpu="", slow="")
    assert choice.diagnose() == {
        "gpu": "not usable: no driver",
        "cpu": "1.0, cpu",
        "slow": "1.0, cpu",
        "auto": "cpu, the first usable of gpu, cpu, slow",
    }
    routes(gpu=None)
    assert choice.diagnose()["auto"] == "none is usable: pip install smartscope[onnxruntime]"


class Point:
    """An entry point."""

    name, value = "engines", "some.module:diagnose"

    def __init__(self, diagnose: Callable[[], dict[str, str]]) -> None:
        self.load = lambda: diagnose


def test_the_doctor_asks_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[str] = []

    def points(group: str) -> list[Point]:
        groups.append(group)
        return [Point(choice.diagnose)]

    monkeypatch.setattr(doctor, "entry_points", points)
    found = doctor.examine()
    assert groups == ["smartscope.diagnostics"]
    assert found["engines"]["onnxruntime"].endswith("cpu")
    assert "engines:" in doctor.show(found)


def test_the_doctor_survives_a_failing_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> dict[str, str]:
        raise RuntimeError("broken")

    monkeypatch.setattr(doctor, "entry_points", lambda group: [Point(fails)])
    found = doctor.examine()
    assert found["engines"] == {"failed": "RuntimeError: broken"}
    assert "engines could not be examined (some.module:diagnose): RuntimeError: broken" in found["warnings"]


def test_the_engines_are_registered() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert "auto" in json.loads(result.output)["engines"]
