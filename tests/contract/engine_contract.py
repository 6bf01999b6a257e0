"""What every engine must keep behind the ``Engine`` protocol. Subclass and say how yours is opened::

class TestMine(EngineContract):
    def open(self, network: Network) -> Engine:
        return MyEngine(network)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from small_networks import (
    COPY,
    FIXED,
    HALVES,
    LEVEL,
    SCALED,
    STRETCHED,
    TINY_DENOISER,
    UNREAD,
    denoiser_inputs,
    expected,
    network,
    shapes,
)

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import Engine, Network

Array = npt.NDArray[Any]
SIZES = ((16, 24), (40, 8))


class EngineContract:
    """Collected by pytest through a subclass named ``Test...``."""

    relative = 2e-6
    """Greatest difference from ONNX's reference, in units of the greatest output."""

    def open(self, network: Network) -> Engine:
        """An engine for ``network``, not warmed up."""
        raise NotImplementedError(f"{type(self).__name__}.open() must open the engine under test")

    @contextmanager
    def ready(self, text: str, inputs: Mapping[str, Array]) -> Iterator[Engine]:
        """An engine warmed up for the shapes of ``inputs``, closed whatever happens."""
        engine = self.open(network(text))
        try:
            engine.warm_up(shapes(inputs))
            yield engine
        finally:
            engine.close()

    def agree(self, found: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
        """Same names, shapes and dtypes; values as near as the engine's arithmetic allows."""
        assert set(found) == set(wanted)
        for name, array in wanted.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            np.testing.assert_allclose(found[name], array, rtol=0, atol=self.relative * float(np.abs(array).max()))

    # ---------------------------------------------------------------- what it says of itself

    def test_says_what_it_is(self) -> None:
        """Name, device and precision; inputs and outputs as the file declares them."""
        engine = self.open(network(TINY_DENOISER))
        assert isinstance(engine, Engine)
        assert engine.name in ("tensorrt", "onnxruntime", "openvino", "torch")
        assert engine.device
        assert engine.precision in ("fp32", "fp16", "bf16")
        assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in engine.inputs] == [
            ("frames", np.uint16, (1, 2, "height", "width")),
            ("calibration", np.float32, (1, 3, "height", "width")),
            ("nominal", np.float32, (3,)),
        ]
        assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in engine.outputs] == [
            ("image", np.float32, (1, 1, "height", "width"))
        ]
        engine.close()

    # ---------------------------------------------------------------- results

    def test_computes_what_onnx_says_at_two_sizes(self) -> None:
        """One engine, warmed up for one size after the other; counts up to 65535."""
        with self.ready(TINY_DENOISER, denoiser_inputs(*SIZES[0])) as engine:
            for size in SIZES:
                inputs = denoiser_inputs(*size)
                engine.warm_up(shapes(inputs))
                self.agree(engine.run(inputs), expected(network(TINY_DENOISER), inputs))

    def test_several_outputs(self) -> None:
        """By name; one has no axes at all."""
        inputs = {"frames": np.arange(32, dtype=np.uint16).reshape(1, 1, 4, 8) * 2000}
        with self.ready(LEVEL, inputs) as engine:
            self.agree(engine.run(inputs), expected(network(LEVEL), inputs))

    def test_an_input_without_axes(self) -> None:
        """As an array, and as the scalar that NumPy hands out in its place."""
        x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
        with self.ready(SCALED, {"x": x, "gain": np.array(0, np.float32)}) as engine:
            for gain in (np.array(3, np.float32), np.float32(3)):
                self.agree(engine.run({"x": x, "gain": gain}), {"y": 3 * x})
            engine.hold("gain", np.array(-2, np.float32))
            self.agree(engine.run({"x": x}), {"y": -2 * x})

    def test_an_input_that_nothing_reads(self) -> None:
        """It must be given or held all the same, and does no harm."""
        x = np.arange(8, dtype=np.float32)
        with self.ready(UNREAD, {"x": x, "unread": x}) as engine:
            self.agree(engine.run({"x": x, "unread": x}), {"y": -x})
            engine.hold("unread", x)
            self.agree(engine.run({"x": x}), {"y": -x})

    def test_takes_arrays_as_they_lie(self) -> None:
        """Cut from a larger frame, and read-only; the inputs stay as they were."""
        inputs = denoiser_inputs(16, 24)
        wide = np.zeros((1, 2, 20, 30), np.uint16)
        wide[:, :, 2:18, 3:27] = inputs["frames"]
        before = wide.copy()
        wide.flags.writeable = False
        locked = {name: array.copy() for name, array in inputs.items()}
        for array in locked.values():
            array.flags.writeable = False
        with self.ready(TINY_DENOISER, inputs) as engine:
            wanted = engine.run(inputs)
            self.agree(engine.run({**inputs, "frames": wide[:, :, 2:18, 3:27]}), wanted)
            self.agree(engine.run(locked), wanted)
        np.testing.assert_array_equal(wide, before)

    def test_the_output_is_no_view_of_the_input(self) -> None:
        """Also where the network does nothing."""
        x = np.arange(32, dtype=np.float32).reshape(4, 8)
        with self.ready(COPY, {"x": x}) as engine:
            y = engine.run({"x": x})["y"]
            wanted = x.copy()
            x[:] = -1
            np.testing.assert_array_equal(y, wanted)

    # ---------------------------------------------------------------- outputs that are held

    def test_outputs_are_never_written_while_held(self) -> None:
        """Twenty frames, all kept, some as a view or memory view only; then most let go, and on it goes."""
        kept: list[tuple[int, Any]] = []
        with self.ready(LEVEL, {"frames": np.zeros((1, 1, 8, 8), np.uint16)}) as engine:
            for number in range(40):
                if number == 20:
                    kept = kept[::5]
                image = engine.run({"frames": np.full((1, 1, 8, 8), number, np.uint16)})["image"]
                views = (image, image[0, 0, 2:5], image.reshape(-1).view(np.uint8)[4:], memoryview(image)[0:1])
                kept.append((number, views[number % 4]))
                del image, views
            for number, view in kept:
                values = np.frombuffer(np.ascontiguousarray(view).tobytes(), np.float32)
                assert (values == number).all(), f"the output of frame {number} was overwritten"
        for number, view in kept:
            values = np.frombuffer(np.ascontiguousarray(view).tobytes(), np.float32)
            assert (values == number).all(), "outputs outlive the engine"

    # ---------------------------------------------------------------- inputs that are held

    def test_held_inputs_count_as_given(self) -> None:
        """The same result; later changes of the array that was held are not seen; holding anew replaces."""
        inputs = denoiser_inputs(16, 24)
        frames = {"frames": inputs["frames"]}
        with self.ready(TINY_DENOISER, inputs) as engine:
            wanted = {name: array.copy() for name, array in engine.run(inputs).items()}
            calibration = inputs["calibration"].copy()
            engine.hold("calibration", calibration)
            calibration[:] = 0
            engine.hold("nominal", inputs["nominal"])
            for _ in range(2):
                self.agree(engine.run(frames), wanted)
            other = np.array([0, 1, 0], np.float32)
            engine.hold("nominal", other)
            self.agree(engine.run(frames), expected(network(TINY_DENOISER), {**inputs, "nominal": other}))

    def test_held_inputs_are_forgotten_with_their_shape(self) -> None:
        """A warm-up for another size forgets the maps and keeps the numbers; one for the same size keeps all."""
        inputs, larger = denoiser_inputs(16, 24), denoiser_inputs(24, 24)
        with self.ready(TINY_DENOISER, inputs) as engine:
            engine.hold("calibration", inputs["calibration"])
            engine.hold("nominal", inputs["nominal"])
            engine.warm_up(shapes(inputs))
            self.agree(engine.run({"frames": inputs["frames"]}), expected(network(TINY_DENOISER), inputs))
            engine.warm_up(shapes(larger))
            with pytest.raises(EngineError, match="no values for calibration"):
                engine.run({"frames": larger["frames"]})
            found = engine.run({"frames": larger["frames"], "calibration": larger["calibration"]})
            self.agree(found, expected(network(TINY_DENOISER), larger))

    # ---------------------------------------------------------------- what is refused

    def test_refuses_what_was_not_agreed(self) -> None:
        """Missing, unknown, doubled, wrong dtype, wrong shape: EngineError names the input; then it goes on."""
        inputs = denoiser_inputs(16, 24)
        frames, nominal = inputs["frames"], inputs["nominal"]
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"nominal": nominal}, "no values for frames"),
            ({"frames": frames}, "no values for nominal"),
            ({**inputs, "nominal": nominal}, "calibration is held"),
            ({"frames": frames, "nominal": nominal, "more": frames}, "no input 'more'"),
            ({"frames": frames.astype(np.int32), "nominal": nominal}, "input frames is int32"),
            ({"frames": frames.astype(">u2"), "nominal": nominal}, "input frames is >u2"),
            ({"frames": frames[..., :8], "nominal": nominal}, r"frames is uint16 \(1, 2, 16, 8\); allowed: uint16"),
            ({"frames": frames[0], "nominal": nominal}, "input frames is uint16"),
        ]
        with self.ready(TINY_DENOISER, inputs) as engine:
            engine.hold("calibration", inputs["calibration"])
            for given, message in wrong:
                with pytest.raises(EngineError, match=message):
                    engine.run(given)
            for name, values in (("more", frames), ("nominal", frames), ("nominal", nominal.astype(np.float64))):
                with pytest.raises(EngineError, match=name):
                    engine.hold(name, values)
            given = {"frames": frames, "nominal": nominal}
            self.agree(engine.run(given), expected(network(TINY_DENOISER), inputs))

    def test_refuses_shapes_that_the_file_excludes(self) -> None:
        """UnsupportedModel; the shapes agreed before stay."""
        inputs = denoiser_inputs(16, 24)
        good = shapes(inputs)
        wrong: list[tuple[dict[str, tuple[int, ...]], str]] = [
            ({"frames": good["frames"]}, "one shape per input"),
            ({**good, "more": (1,)}, "shapes are given for"),
            ({**good, "frames": (2, 16, 24)}, "frames cannot be"),
            ({**good, "frames": (1, 3, 16, 24)}, "frames cannot be"),
            ({**good, "calibration": (1, 3, 16, 32)}, "calibration cannot be"),
            ({**good, "nominal": (4,)}, "nominal cannot be"),
            ({**good, "frames": (1, 2, 0, 24), "calibration": (1, 3, 0, 24)}, "frames cannot be"),
        ]
        with self.ready(TINY_DENOISER, inputs) as engine:
            for given, message in wrong:
                with pytest.raises(UnsupportedModel, match=message):
                    engine.warm_up(given)
            self.agree(engine.run(inputs), expected(network(TINY_DENOISER), inputs))
        engine = self.open(network(FIXED))
        with pytest.raises(UnsupportedModel, match="x cannot be"):
            engine.warm_up({"x": (1, 1, 8, 16)})
        engine.close()

    def test_refuses_shapes_that_the_graph_excludes(self) -> None:
        """UnsupportedModel, before the light goes on; a size that fits is taken afterwards."""
        engine = self.open(network(HALVES))
        with pytest.raises(UnsupportedModel):
            engine.warm_up({"x": (1, 1, 9, 5)})
        x = np.ones((1, 1, 8, 5), np.float32)
        engine.warm_up({"x": x.shape})
        self.agree(engine.run({"x": x}), {"y": 2 * x})
        engine.close()

    def test_refuses_outputs_whose_shape_depends_on_values(self) -> None:
        """At the warm-up, or when it shows; never a wrong result."""
        engine = self.open(network(STRETCHED))

        def use() -> None:
            engine.warm_up({"x": (1,), "length": (1,)})
            engine.run({"x": np.ones(1, np.float32), "length": np.array([5])})

        with pytest.raises(EngineError):
            use()
        engine.close()

    def test_must_be_warm_and_open(self) -> None:
        """EngineError before the warm-up and after the end; closing twice does no harm."""
        x = np.ones((4, 8), np.float32)
        engine = self.open(network(COPY))
        for use in (lambda: engine.run({"x": x}), lambda: engine.run({}), lambda: engine.hold("x", x)):
            with pytest.raises(EngineError, match="not warmed up"):
                use()
        engine.warm_up({"x": x.shape})
        y = engine.run({"x": x})["y"]
        engine.close()
        engine.close()
        np.testing.assert_array_equal(y, x)
        for use in (lambda: engine.run({"x": x}), lambda: engine.hold("x", x), lambda: engine.warm_up({"x": x.shape})):
            with pytest.raises(EngineError, match="is closed"):
                use()

    def test_two_engines_do_not_meet(self) -> None:
        """Each has its own shapes and held inputs."""
        one, other = denoiser_inputs(16, 24, seed=2), denoiser_inputs(16, 24, seed=3)
        with self.ready(TINY_DENOISER, one) as a, self.ready(TINY_DENOISER, other) as b:
            for engine, inputs in ((a, one), (b, other)):
                engine.hold("calibration", inputs["calibration"])
                engine.hold("nominal", inputs["nominal"])
            for engine, inputs in ((a, one), (b, other), (a, one)):
                found = engine.run({"frames": inputs["frames"]})
                self.agree(found, expected(network(TINY_DENOISER), inputs))
