"""A small denoiser written down by hand, its ONNX package, and movies of blurred texture behind a simulated camera.

The network's tail is "noise = frame - its Gaussian blur": a linear filter, so nothing needs to be trained, and how good
it is for a sample is plain: ``sigma_px`` much below the sample's blur leaves noise in that tuning can take out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from packages_helpers import FACTS, tiny_manifest
from scipy import ndimage

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Roi
from smartscope.optics.camera_noise import CameraNoise
from smartscope_models.packages import Examples, ModelPackage, write_package
from smartscope_models.training.network import Architecture, Denoiser
from smartscope_models.training.weights import trial_inputs
from smartscope_models.tuning.request import Request

SIZE = 128
CAMERA = CameraCalibration(offset_adu=100.0, electrons_per_adu=0.46, read_noise_e=1.6)
"""Also what the movies are recorded with."""
CONVOLUTIONS = """
  h0 = Conv <kernel_shape = [2, 2], strides = [2, 2]> (x, unshuffle)
  h1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h0, body_head_weight)
  a1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h1, body_fine_in_0_first_weight)
  b1 = Relu (a1)
  c1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b1, body_fine_in_0_second_weight)
  h2 = Add (h1, c1)
  h3 = Conv <kernel_shape = [2, 2], strides = [2, 2]> (h2, body_down_weight)
  a2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h3, body_coarse_0_first_weight)
  b2 = Relu (a2)
  c2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b2, body_coarse_0_second_weight)
  h4 = Add (h3, c2)
  h5 = Conv <kernel_shape = [1, 1]> (h4, body_up_weight)
  h6 = DepthToSpace <blocksize = 2, mode = "CRD"> (h5)
  h7 = Add (h2, h6)
  a3 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h7, body_fine_out_0_first_weight)
  b3 = Relu (a3)
  c3 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b3, body_fine_out_0_second_weight)
  h8 = Add (h7, c3)
  h9 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (h8, body_tail_weight)
  noise = DepthToSpace <blocksize = 2, mode = "CRD"> (h9)"""
GRAPH = """<ir_version: 8, opset_import: ["" : 17]>
small (uint16[1,{frames},height,width] frames, float[1,3,height,width] calibration, float[3] nominal)
=> (float[1,1,height,width] image)
<int64[1] channels = {{1}}, int64[1] zero = {{0}}, int64[1] i0 = {{0}}, int64[1] i1 = {{1}}, int64[1] i2 = {{2}},
 int64[1] i3 = {{3}}, int64[1] last = {{-1}}, int64[1] end = {{99}}, float quarter = {{0.25}}, float two = {{2.0}},
 float four = {{4.0}}, float eight = {{8.0}}, float nine = {{9.0}}, float one = {{1.0}}, float none = {{0.0}},
 float anscombe = {{0.375}}, float eighth = {{0.125}}, float least = {{0.8}}, float s1 = {{0.30618622}},
 float s2 = {{-1.375}}, float s3 = {{0.76546556}}>
{{
  counts = Cast <to = 1> (frames)
  offset = Slice (calibration, i0, i1, channels)
  gain = Slice (calibration, i1, i2, channels)
  variance = Slice (calibration, i2, i3, channels)
  nominal_offset = Slice (nominal, i0, i1, zero)
  nominal_gain = Slice (nominal, i1, i2, zero)
  usual = Slice (nominal, i2, i3, zero)
  above = Sub (counts, offset)
  light = Mul (above, gain)
  limit = Max (usual, quarter)
  limit4 = Mul (limit, four)
  noisy = Greater (variance, limit4)
  share = Div (limit, variance)
  own = Where (noisy, share, one)
  pooled = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 0> (light)
  pooled9 = Mul (pooled, nine)
  others = Sub (pooled9, light)
  around = Div (others, eight)
  rest = Sub (one, own)
  from_own = Mul (own, light)
  from_others = Mul (rest, around)
  calm = Add (from_own, from_others)
  shift = Add (usual, anscombe)
  shifted = Add (calm, shift)
  positive = Max (shifted, none)
  root = Sqrt (positive)
  stable = Mul (root, two)
  newest = Slice (stable, last, end, channels)
  level = ReduceMean <axes = [1, 2, 3], keepdims = 1> (newest)
  contrast = Sub (stable, level)
  {body}
  quiet = Sub (newest, taken)
  y = Max (quiet, least)
  inverse = Div (one, y)
  t3 = Mul (inverse, s3)
  t2 = Add (t3, s2)
  t1 = Mul (inverse, t2)
  t0 = Add (t1, s1)
  series = Mul (inverse, t0)
  square = Mul (y, y)
  quarter_square = Mul (square, quarter)
  e2 = Add (quarter_square, series)
  e1 = Sub (e2, eighth)
  light_out = Sub (e1, usual)
  scaled = Mul (light_out, nominal_gain)
  image = Add (scaled, nominal_offset)
}}"""


def small_network(sigma_px: float = 0.45, frames: int = 1, seed: int = 1) -> Denoiser:
    """Takes out what a Gaussian blur of the newest frame does not let through; bias-free and linear at first."""
    torch.manual_seed(seed)
    network = Denoiser(Architecture(frames, fine=8, coarse=8, fine_blocks=1, coarse_blocks=1)).eval()
    with torch.no_grad():
        body = network.body
        body.head.weight.mul_(0.3)
        body.head.weight[:4] = 0
        for k in range(4):
            body.head.weight[k, 4 * (frames - 1) + k, 1, 1] = 1
        body.up.weight.zero_()
        for block in (body.fine_in[0], body.fine_out[0]):
            block.second.weight.zero_()
        body.tail.weight.zero_()
        body.tail.weight[:, :4] = torch.from_numpy(_blur_and_shuffle(sigma_px))
    return network


def _blur_and_shuffle(sigma_px: float) -> npt.NDArray[np.float32]:
    """(4, 4, 3, 3) identity minus blur of 5 x 5 pixels, on pixels unshuffled by 2."""
    point = np.zeros((5, 5))
    point[2, 2] = 1
    kernel = point - ndimage.gaussian_filter(point, sigma_px, mode="constant", radius=2)
    weight = np.zeros((4, 4, 3, 3), np.float32)
    for place in range(4):
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                (row, y), (column, x) = divmod(place // 2 + dy, 2), divmod(place % 2 + dx, 2)
                weight[place, 2 * y + x, row + 1, column + 1] += kernel[dy + 2, dx + 2]
    return weight


def small_onnx(network: Denoiser, *, half: bool = False) -> bytes:
    """The same network as an ONNX file without manifest, its body in float16 where ``half``."""
    import onnx

    frames = network.sizes.frames
    into, out = ("x = Cast <to = 10> (contrast)", "taken = Cast <to = 1> (noise)") if half else ("", "")
    body = CONVOLUTIONS if half else CONVOLUTIONS.replace("(x,", "(contrast,").replace("  noise =", "  taken =")
    model = onnx.parser.parse_model(GRAPH.format(frames=frames, body=f"{into}{body}\n  {out}"))
    kind = np.float16 if half else np.float32
    unshuffle = np.eye(4 * frames, dtype=kind).reshape(4 * frames, frames, 2, 2)
    model.graph.initializer.append(onnx.numpy_helper.from_array(unshuffle, "unshuffle"))
    names = {key.replace(".", "_"): key for key in network.state_dict()}
    for key, weight in network.state_dict().items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight.numpy().astype(kind), key))
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def write_small_package(folder: Path, network: Denoiser, *, half: bool = True) -> ModelPackage:
    """A whole package of such a network."""
    files: dict[Any, bytes] = {"fp32": small_onnx(network)}
    if half:
        files["fp16"] = small_onnx(network, half=True)
    history = network.sizes.frames - 1
    manifest = tiny_manifest(history, name="small", parameters=sum(p.numel() for p in network.parameters()))
    inputs = trial_inputs(network.sizes.frames)
    frames, calibration, nominal = (torch.from_numpy(array) for array in inputs.values())
    with torch.no_grad():
        image = network(frames.to(torch.int32), calibration, nominal).numpy()
    return write_package(folder, manifest, files, Examples(inputs, {"image": image}), FACTS)


def texture(sigma_px: float = 2.0, seed: int = 1, size: int = SIZE) -> npt.NDArray[np.float32]:
    """(size, size) photo-electrons: blurred noise of 10 to 60, for which a blur of about ``sigma_px`` is right."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), sigma_px, mode="wrap")
    return np.clip(30 + 14 * field / field.std(), 2, None).astype(np.float32)


def counts(light: npt.NDArray[np.float32], camera: CameraCalibration = CAMERA, seed: int = 1) -> npt.NDArray[np.uint16]:
    """What the camera makes of light (T, H, W)."""
    noise, found = CameraNoise(camera, light.shape[1:], seed), np.empty(light.shape, np.uint16)
    for k, expected in enumerate(light):
        noise.expose(np.ascontiguousarray(expected), found[k], Roi(0, 0, light.shape[2], light.shape[1]), k)
    return found


def write_movie(path: Path, pixels: npt.NDArray[np.uint16]) -> Path:
    """As a TIFF."""
    tifffile.imwrite(path, pixels, photometric="minisblack")
    return path


def still_movie(path: Path, frames: int = 16, sigma_px: float = 2.0) -> Path:
    """A TIFF of one specimen at rest."""
    return write_movie(path, counts(np.repeat(texture(sigma_px)[None], frames, axis=0)))


def request_for(movie: Path, package: str = "small", **changes: Any) -> Request:
    """A minute for this movie."""
    known: dict[str, Any] = {"package": package, "frames": movie, "camera": CAMERA, "optics": OpticsConfig()}
    return Request(**{**known, **changes})


def root_mean_square_error(network: Denoiser, light: npt.NDArray[np.float32], seed: int = 99) -> float:
    """Of the denoised image of one new exposure, photo-electrons."""
    frames = network.sizes.frames
    pixels = counts(np.repeat(light[None], frames, axis=0), seed=seed)
    shape, gain = light.shape, CAMERA.electrons_per_adu
    variance = CAMERA.read_noise_e**2 + gain**2 / 12
    maps = np.stack([np.full(shape, v, np.float32) for v in (CAMERA.offset_adu, gain, variance)])
    nominal = torch.tensor([CAMERA.offset_adu, 1 / gain, variance], dtype=torch.float32)
    with torch.no_grad():
        image = network(torch.from_numpy(pixels[None].astype(np.int32)), torch.from_numpy(maps[None]), nominal)
    electrons = (image[0, 0].numpy() - CAMERA.offset_adu) * gain
    return float(np.sqrt(np.mean((electrons - light) ** 2)))
