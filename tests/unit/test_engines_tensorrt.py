"""The whole life of a TensorRT engine, on a TensorRT and a GPU that are made of Python."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

import counts_networks as networks
import numpy as np
import onnx
import pytest
import small_networks
from fake_cuda import FakeCuda
from fake_tensorrt import World, fake_tensorrt
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from onnx.reference import ReferenceEvaluator

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import open_engine, probe
from smartscope_models.engines.cuda_stream import Gpu
from smartscope_models.engines.engine import Engine
from smartscope_models.engines.tensorrt import ALIVE, RING, TensorRtEngine

LINEAR = networks.network(networks.LINEAR)
SIZE = (4, 6)
SHAPES = networks.shapes(*SIZE)


def opened(
    place: Path, world: World | None = None, cuda: FakeCuda | None = None, network=LINEAR, **more
) -> TensorRtEngine:
    return TensorRtEngine(
        network, module=fake_tensorrt(world or World()), cache_dir=place, cuda=cuda or FakeCuda(), **more
    )


def image(given: dict[str, np.ndarray]) -> np.ndarray:
    return (given["frames"].astype(np.float32) - given["offset"]) * given["gain"]


@pytest.fixture(params=["tensorrt_rtx", "tensorrt"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param, "1.7.1.116" if request.param == "tensorrt_rtx" else "11.4.0.1")


# ------------------------------------------------------------------------------------------------- running


def test_counts_become_an_image(tmp_path: Path, world: World) -> None:
    engine = opened(tmp_path, world)
    assert isinstance(engine, Engine)
    assert (engine.name, engine.device, engine.precision) == ("tensorrt", "Fake GPU", "fp32")
    engine.warm_up(SHAPES)
    given = networks.inputs(*SIZE)
    assert given["frames"].max() > 60000, "both bytes of a count matter"
    np.testing.assert_array_equal(engine.run(given)["image"], image(given))
    assert engine.live.graph == {"tensorrt_rtx": "of TensorRT for RTX", "tensorrt": "captured"}[world.flavour]
    engine.close()


@pytest.mark.parametrize("text", [small_networks.TINY_DENOISER, small_networks.LEVEL, small_networks.SCALED])
def test_any_number_of_inputs_and_outputs_and_of_axes(tmp_path: Path, world: World, text: str) -> None:
    network = small_networks.network(text)
    engine = opened(tmp_path, world, network=network)
    lengths = {"height": 8, "width": 12}
    engine.warm_up({t.name: tuple(lengths.get(n, n) for n in t.shape) for t in engine.inputs})
    random = np.random.default_rng(0)
    given = {
        t.name: random.uniform(1, 200, [lengths.get(n, n) for n in t.shape]).astype(t.dtype) for t in engine.inputs
    }
    found = engine.run(given)
    evaluated = ReferenceEvaluator(onnx.load_model_from_string(network.onnx)).run(None, given)
    assert [(t.name, t.dtype) for t in engine.outputs] == [(name, array.dtype) for name, array in found.items()]
    for array, expected in zip(found.values(), evaluated, strict=True):
        assert array.shape == expected.shape
        np.testing.assert_allclose(array, expected, rtol=1e-6)
    engine.close()


def test_held_inputs_travel_once(tmp_path: Path, world: World) -> None:
    engine = opened(tmp_path, world)
    engine.warm_up(SHAPES)
    given = networks.inputs(*SIZE)
    held = {name: given.pop(name) for name in ("offset", "gain")}
    for name, values in held.items():
        engine.hold(name, values)
        values += 1  # the engine has its own copy
    expected = image({**given, "offset": held["offset"] - 1, "gain": held["gain"] - 1})
    for _ in range(2):
        np.testing.assert_array_equal(engine.run(given)["image"], expected)
    engine.close()


def test_results_held_by_others_are_never_written(tmp_path: Path, world: World) -> None:
    engine = opened(tmp_path, world)
    engine.warm_up(SHAPES)
    kept = []
    for seed in range(12):  # more than the pool has
        given = networks.inputs(*SIZE, seed)
        kept.append((engine.run(given)["image"], image(given)))
    engine.close()
    for result, expected in kept:
        np.testing.assert_array_equal(result, expected)


def test_nothing_is_allocated_between_frames(tmp_path: Path, world: World) -> None:
    cuda = FakeCuda()
    engine = opened(tmp_path, world, cuda)
    engine.warm_up(SHAPES)
    blocks, pinned = len(cuda.memory), cuda.pinned_blocks
    recent = []
    for seed in range(20):
        recent = [*recent, engine.run(networks.inputs(*SIZE, seed))["image"]][1 - RING :]
    assert (len(cuda.memory), cuda.pinned_blocks) == (blocks, pinned)
    engine.close()
    assert not cuda.memory, "device memory is given back"


def test_each_shape_is_built_once_and_stays_ready(tmp_path: Path, world: World) -> None:
    engine = opened(tmp_path, world)
    for size in (SIZE, (8, 2), SIZE):
        engine.warm_up(networks.shapes(*size))
        given = networks.inputs(*size)
        np.testing.assert_array_equal(engine.run(given)["image"], image(given))
    assert world.asked["build"] == 2
    contexts = len(world.settings)
    for width in range(10, 10 + ALIVE):  # pushes the first ones out
        engine.warm_up(networks.shapes(4, width + (width >= 13)))
    engine.warm_up(SHAPES)
    assert world.asked["build"] == 2 + ALIVE, "the engine file is still there"
    assert len(world.settings) == contexts + ALIVE + 1, "the context is not"
    engine.close()


def test_held_inputs_survive_a_shape_they_do_not_depend_on(tmp_path: Path, world: World) -> None:
    engine = opened(tmp_path, world)
    engine.warm_up(SHAPES)
    engine.hold("gain", np.array([3], np.float32))
    engine.hold("offset", np.full((1, 1, *SIZE), 7, np.float32))
    engine.warm_up(networks.shapes(8, 8))
    given = networks.inputs(8, 8)
    with pytest.raises(EngineError, match="no values for offset"):
        engine.run({"frames": given["frames"]})
    given.pop("gain")
    np.testing.assert_array_equal(engine.run(given)["image"], image({**given, "gain": np.array([3], np.float32)}))
    engine.warm_up(SHAPES)  # warm already, but what was held there before counts no more
    with pytest.raises(EngineError, match="no values for offset"):
        engine.run({"frames": networks.inputs(*SIZE)["frames"]})
    engine.close()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"frames": None}, "no values for frames"),
        ({"frames": np.zeros((1, 1, *SIZE), np.float32)}, "input frames is float32"),
        ({"frames": np.zeros((1, 1, 5, 6), np.uint16)}, r"input frames is uint16 \(1, 1, 5, 6\)"),
        ({"more": np.zeros(3)}, "has no input 'more'"),
    ],
)
def test_wrong_inputs_are_named(tmp_path: Path, change: dict, what: str) -> None:
    engine = opened(tmp_path)
    engine.warm_up(SHAPES)
    given = {name: values for name, values in {**networks.inputs(*SIZE), **change}.items() if values is not None}
    with pytest.raises(EngineError, match=what):
        engine.run(given)
    engine.close()


def test_close_is_harmless_twice_and_final(tmp_path: Path) -> None:
    engine = opened(tmp_path)
    with pytest.raises(EngineError, match="not warmed up"):
        engine.run(networks.inputs(*SIZE))
    engine.warm_up(SHAPES)
    result = engine.run(given := networks.inputs(*SIZE))["image"]
    engine.close()
    engine.close()
    np.testing.assert_array_equal(result, image(given))
    with pytest.raises(EngineError, match="is closed"):
        engine.run(given)
    with pytest.raises(EngineError, match="is closed"):
        engine.warm_up(SHAPES)


def test_frames_that_are_no_single_block_are_taken(tmp_path: Path) -> None:
    engine = opened(tmp_path)
    engine.warm_up(SHAPES)
    given = networks.inputs(*SIZE)
    given["frames"] = np.repeat(given["frames"], 2, axis=3)[..., ::2]
    np.testing.assert_array_equal(engine.run(given)["image"], image(given))
    engine.close()


# ------------------------------------------------------------------------------------------------- CUDA graphs


def test_rtx_is_told_to_make_its_graph_and_to_compile_at_once(tmp_path: Path) -> None:
    world, cuda = World(), FakeCuda()
    opened(tmp_path, world, cuda).warm_up(SHAPES)
    assert world.settings[-1].cuda_graph_strategy.name == "WHOLE_GRAPH_CAPTURE"
    assert world.settings[-1].dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
    assert cuda.replays == 0
    opened(tmp_path, world, cuda, graph=False).warm_up(SHAPES)
    assert world.settings[-1].cuda_graph_strategy.name == "DISABLED"


def test_the_full_tensorrt_is_captured_after_it_has_run(tmp_path: Path) -> None:
    world, cuda = World("tensorrt", "10.16.1"), FakeCuda()
    engine = opened(tmp_path, world, cuda)
    engine.warm_up(SHAPES)
    given = networks.inputs(*SIZE)
    asked, replays = world.asked["execute"], cuda.replays
    np.testing.assert_array_equal(engine.run(given)["image"], image(given))
    assert (world.asked["execute"], cuda.replays) == (asked, replays + 1)
    engine.close()


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ({"capture_fails": "operation not permitted when stream is capturing"}, "not permitted"),
        ({"captures_nothing": True}, "gives other results"),
    ],
)
def test_without_a_graph_it_runs_all_the_same(tmp_path: Path, faults: dict, why: str, caplog) -> None:
    world, cuda = World("tensorrt", "10.16.1"), FakeCuda()
    vars(cuda).update(faults)
    engine = opened(tmp_path, world, cuda)
    with caplog.at_level(logging.WARNING):
        engine.warm_up(SHAPES)
    assert why in engine.live.graph
    assert "without a CUDA graph" in caplog.text
    given = networks.inputs(*SIZE)
    np.testing.assert_array_equal(engine.run(given)["image"], image(given))
    engine.close()
    quiet = opened(tmp_path, world, FakeCuda(), graph=False)
    quiet.warm_up(SHAPES)
    assert quiet.live.graph == "not asked for"


# ------------------------------------------------------------------------------------------------- the cache


def test_the_second_start_builds_and_compiles_nothing(tmp_path: Path, world: World) -> None:
    for _ in range(2):
        engine = opened(tmp_path, world)
        engine.warm_up(SHAPES)
        engine.close()
    assert world.asked["build"] == 1
    assert world.asked["compile"] == (1 if world.rtx else 0)
    assert {path.suffix for path in tmp_path.iterdir()} == ({".engine", ".rtcache"} if world.rtx else {".engine"})


@pytest.mark.parametrize("suffix", [".engine", ".rtcache"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "foreign"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, suffix: str, damage: str) -> None:
    world = World()
    opened(tmp_path, world).warm_up(SHAPES)
    (path,) = tmp_path.glob(f"*{suffix}")
    whole = path.read_bytes()
    broken = {"cut": whole[:-5], "flipped": whole[:-1] + b"?", "emptied": b"", "foreign": b"\n" + whole}[damage]
    path.write_bytes(broken)
    engine = opened(tmp_path, world)
    engine.warm_up(SHAPES)
    assert path.read_bytes() == whole
    assert world.asked["build" if suffix == ".engine" else "compile"] == 2
    given = networks.inputs(*SIZE)
    np.testing.assert_array_equal(engine.run(given)["image"], image(given))
    engine.close()


def test_another_version_or_gpu_has_files_of_its_own(tmp_path: Path) -> None:
    ada, driver = Gpu("Ada", (8, 9), 13000), Gpu("Ada", (8, 9), 13010)
    full, rtx = ("tensorrt", "11.4"), ("tensorrt_rtx", "1.7")
    builds = []
    for (flavour, version), gpu in [
        (rtx, ada), (rtx, driver), (rtx, Gpu("Ampere", (8, 6), 13000)), (("tensorrt_rtx", "1.8"), ada),
        (full, ada), (full, driver), (full, Gpu("Another Ada", (8, 9), 13000)), (full, ada),
    ]:  # fmt: skip
        world = World(flavour, version)
        opened(tmp_path, world, FakeCuda(gpu)).warm_up(SHAPES)
        builds.append(world.asked["build"])
    assert builds == [1, 0, 1, 1, 1, 1, 1, 0]


def test_an_engine_that_tensorrt_doubts_is_built_anew_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(tmp_path, World()).warm_up(SHAPES)
    doubtful = World(doubts=1)
    engine = opened(tmp_path, doubtful)
    with caplog.at_level(logging.WARNING):
        engine.warm_up(SHAPES)
    assert (doubtful.asked["build"], doubtful.asked["compile"]) == (1, 1), "its kernels are doubtful too"
    assert "VERSION_MISMATCH, MALFORMED_ENGINE" in caplog.text
    engine.close()


def test_the_second_best_engine_is_good_enough(tmp_path: Path) -> None:
    for builds in (1, 0):
        world = World(suboptimal=True)
        opened(tmp_path, world).warm_up(SHAPES)
        assert world.asked["build"] == builds


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ({"diagnosis": "UNSUPPORTED_CC"}, "UNSUPPORTED_CC"),
        ({"diagnosis": "OLD_CUDA_DRIVER"}, "OLD_CUDA_DRIVER"),
        ({"diagnosis": "no bit"}, "TensorRT gave no reason"),
        ({"deserialises": False}, "deserializeCudaEngine failed"),
    ],
)
def test_a_fresh_engine_that_does_not_open_is_an_error(tmp_path: Path, faults: dict, why: str) -> None:
    opened(tmp_path, World()).warm_up(SHAPES)
    world = World(**faults)
    engine = opened(tmp_path, world, FakeCuda(Gpu("Hopper", (8, 9), 13000)))
    with pytest.raises(EngineError, match=f"does not run on this GPU.*{why}"):
        engine.warm_up(SHAPES)
    assert world.asked["build"] == 1, "tried anew once, not for ever"
    assert not list(tmp_path.glob("*.engine")), "neither the old nor the new one is kept"
    engine.close()


def test_kernels_that_do_not_fit_are_compiled_anew(tmp_path: Path) -> None:
    opened(tmp_path, World()).warm_up(SHAPES)
    world = World(takes_kernels=False)
    opened(tmp_path, world).warm_up(SHAPES)
    assert (world.asked["build"], world.asked["compile"]) == (0, 1)


def test_turing_is_built_for_by_name(tmp_path: Path) -> None:
    opened(tmp_path, World(), FakeCuda(Gpu("RTX 2080", (7, 5), 13000))).warm_up(SHAPES)
    (path,) = tmp_path.glob("*.engine")
    assert b'"targets": ["SM75"]' in path.read_bytes()


# ------------------------------------------------------------------------------------------------- failing


def test_no_tensorrt_object_is_made_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "cuda_missing", lambda: "libcuda.so.1 not found")

    class Untouched(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was touched")

    with pytest.raises(EngineError, match=r"libcuda.so.1 not found.*onnxruntime"):
        TensorRtEngine(LINEAR, module=Untouched("tensorrt"))


def test_the_stream_is_opened_where_there_is_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "cuda_missing", lambda: None)
    monkeypatch.setattr("smartscope_models.engines.tensorrt.open_stream", FakeCuda)
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(tmp_path))
    engine = TensorRtEngine(LINEAR, module=fake_tensorrt(World()))
    engine.warm_up(SHAPES)
    engine.close()
    assert list((tmp_path / "tensorrt").glob("*.engine"))


def test_an_operator_that_is_not_taken_is_named_by_the_parser(tmp_path: Path) -> None:
    text = networks.HEADER + "spectral (float[1,8,8,1] x) => (float[1,8,8,2] y) { y = DFT <axis = 2> (x) }"
    with pytest.raises(UnsupportedModel, match=r"cannot take the network: node 0 \(DFT\): Plugin not found"):
        opened(tmp_path, network=networks.network(text))
    assert not list(tmp_path.iterdir())


def test_shapes_that_do_not_build_are_an_error_with_tensorrts_text(tmp_path: Path) -> None:
    engine = opened(tmp_path)
    with pytest.raises(UnsupportedModel, match="no profile fits"):
        engine.warm_up(networks.shapes(13, 13))
    assert not list(tmp_path.iterdir()), "nothing half-built is left"
    engine.warm_up(SHAPES)
    engine.close()


def test_counts_in_half_precision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="no offset has been subtracted from frames"):
        opened(tmp_path, network=networks.network(networks.TOO_EARLY))


def test_an_input_that_tensorrt_lost_is_missed(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedModel, match=r"inputs are \['frames', 'offset'\], not \['frames', 'gain', 'offset'\]"
    ):
        opened(tmp_path, World(loses_input=True))


def test_the_body_is_what_the_caller_believes(tmp_path: Path) -> None:
    half = networks.network(networks.HALF)
    assert opened(tmp_path, network=half, precision="fp16").precision == "fp16"
    with pytest.raises(UnsupportedModel, match="its body is fp16, not fp32"):
        opened(tmp_path, network=half, precision="fp32")


def test_an_output_of_open_length_is_refused(tmp_path: Path) -> None:
    engine = opened(tmp_path, World(open_output=True))
    with pytest.raises(UnsupportedModel, match="depends on the data"):
        engine.warm_up(SHAPES)


@pytest.mark.parametrize(
    ("faults", "why"), [({"makes_contexts": False}, "out of device memory"), ({"executes": False}, "illegal memory")]
)
def test_a_warm_up_that_fails_says_why(tmp_path: Path, faults: dict, why: str) -> None:
    engine = opened(tmp_path, World(**faults))
    with pytest.raises(EngineError, match=f"failed on the GPU: .*{why}.*nvidia-smi") as caught:
        engine.warm_up(SHAPES)
    assert not isinstance(caught.value, UnsupportedModel), "the network is not to blame"
    with pytest.raises(EngineError, match="not warmed up"):
        engine.run(networks.inputs(*SIZE))
    engine.close()


def test_a_run_that_fails_says_why_and_may_be_tried_again(tmp_path: Path) -> None:
    world, cuda = World(), FakeCuda()
    engine = opened(tmp_path, world, cuda)
    engine.warm_up(SHAPES)
    given = networks.inputs(*SIZE)
    world.executes = False
    with pytest.raises(EngineError, match=r"execute_async_v3: .*illegal memory access"):
        engine.run(given)
    world.executes, cuda.fails = True, "an illegal memory access was encountered (CUDA error 700)"
    with pytest.raises(EngineError, match="CUDA error 700"):
        engine.run(given)
    with pytest.raises(EngineError, match="CUDA error 700"):
        engine.hold("gain", given["gain"])
    cuda.fails = ""
    np.testing.assert_array_equal(engine.run(given)["image"], image(given))
    engine.close()


@pytest.mark.parametrize(("diagnosis", "taken"), [("", "tensorrt"), ("UNSUPPORTED_CC", "onnxruntime")])
def test_auto_takes_the_gpu_and_falls_back_when_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diagnosis: str, taken: str
) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    usable = [probe.Finding(name, True, "1", "") for name in ("tensorrt_rtx", "onnxruntime")]
    others = [
        probe.Finding(name, False, "", "not installed") for name in ("tensorrt", "torch_cuda", "openvino", "torch")
    ]
    monkeypatch.setattr(probe, "findings", lambda: (*usable, *others))
    monkeypatch.setattr(probe, "cuda_missing", lambda: None)
    monkeypatch.setattr("smartscope_models.engines.tensorrt.open_stream", FakeCuda)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt(World(diagnosis=diagnosis)))
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(tmp_path))
    engine = open_engine({"fp32": LINEAR})
    assert engine.name == "tensorrt", "what the GPU refuses is known when the shapes are"
    engine.warm_up(SHAPES)
    assert engine.name == taken
    assert diagnosis in engine.why
    given = networks.inputs(*SIZE)
    np.testing.assert_allclose(engine.run(given)["image"], image(given), rtol=1e-6)
    engine.close()


# ------------------------------------------------------------------------------------------------- any order of calls


class AnyOrder(RuleBasedStateMachine):
    """Whatever is called in whatever order: results are right, and those that are kept do not change."""

    results = Bundle("results")

    @initialize(flavour=st.sampled_from(["tensorrt_rtx", "tensorrt"]))
    def open(self, flavour: str) -> None:
        self.world, self.cuda = World(flavour), FakeCuda()
        self.module = fake_tensorrt(self.world)
        self.engine = TensorRtEngine(LINEAR, module=self.module, cache_dir=self.folder, cuda=self.cuda)
        self.size: tuple[int, int] | None = None
        self.held: dict[str, np.ndarray] = {}
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []

    @rule(height=st.integers(2, 3), width=st.integers(2, 4))
    def warm_up(self, height: int, width: int) -> None:
        self.engine.warm_up(networks.shapes(height, width))
        if self.size != (height, width):
            self.held.pop("offset", None)
        self.size = height, width

    @rule(name=st.sampled_from(["offset", "gain"]), seed=st.integers(0, 9))
    def hold(self, name: str, seed: int) -> None:
        if self.size is None:
            return
        self.held[name] = networks.inputs(*self.size, seed)[name]
        self.engine.hold(name, self.held[name])

    @rule(target=results, seed=st.integers(0, 99))
    def run_once(self, seed: int) -> np.ndarray | None:
        if self.size is None:
            return None
        given = networks.inputs(*self.size, seed)
        result = self.engine.run({name: values for name, values in given.items() if name not in self.held})["image"]
        self.kept.append((result, image({**given, **self.held})))
        return result

    @rule(result=consumes(results))
    def let_go(self, result: np.ndarray | None) -> None:
        self.kept = [(kept, expected) for kept, expected in self.kept if kept is not result]

    @invariant()
    def kept_results_stand(self) -> None:
        for result, expected in getattr(self, "kept", []):
            np.testing.assert_array_equal(result, expected)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()


def test_any_order_of_calls(tmp_path: Path) -> None:
    AnyOrder.folder = tmp_path
    run_state_machine_as_test(AnyOrder, settings=settings(max_examples=20, stateful_step_count=20, deadline=None))
