"""The tuned part of a network: the same answers as before, still without bias, and nothing of the base changed."""

from __future__ import annotations

import onnx
import pytest
import torch
from packages_helpers import tiny_denoiser_onnx
from tuning_helpers import small_network, small_onnx

from smartscope.errors import UnsupportedModel
from smartscope_models.engines.engine import Network
from smartscope_models.training.network import Architecture, Denoiser
from smartscope_models.training.weights import disagreement, read_network, with_weights
from smartscope_models.tuning.last_layers import LastLayers, features


def test_features_and_last_layers_are_the_body() -> None:
    for sizes in (Architecture(1, 4, 8, 1, 1), Architecture(3, 8, 8, 2, 2)):
        body = Denoiser(sizes).body
        contrast = torch.randn(2, sizes.frames, 32, 48)
        with torch.no_grad():
            torch.testing.assert_close(LastLayers(body)(features(body, contrast)), body(contrast))


def test_tuned_layers_go_into_a_copy() -> None:
    network = small_network(frames=3)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    layers = LastLayers(network.body)
    with torch.no_grad():
        layers.scale.fill_(0.7)
        for weight in layers.block.parameters():
            weight.add_(0.05)
    tuned = layers.into(network)
    contrast = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(tuned.body(contrast), layers(features(network.body, contrast)))
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
    assert not any("bias" in name for name in tuned.state_dict())
    with torch.no_grad():  # homogeneous: twice the contrast, twice the answer
        torch.testing.assert_close(tuned.body(2 * contrast), 2 * tuned.body(contrast))


def test_weights_go_out_of_an_onnx_file_and_back_in_both_precisions() -> None:
    network = small_network(frames=3)
    tuned = LastLayers(network.body).into(network)
    with torch.no_grad():
        tuned.body.tail.weight.mul_(1.5)
    for half, allowed in ((False, 1e-5), (True, 1e-2)):
        file = Network.of("small", small_onnx(network, half=half))
        assert disagreement(file, network) < allowed
        changed = Network.of("small", with_weights(file, tuned))
        assert disagreement(changed, tuned) < allowed
        assert disagreement(changed, network) > 3 * allowed
    found = read_network(Network.of("small", small_onnx(network)))
    assert found.sizes == network.sizes
    assert all(torch.equal(weight, network.state_dict()[name]) for name, weight in found.state_dict().items())


def test_other_networks_cannot_be_tuned() -> None:
    with pytest.raises(UnsupportedModel, match="its weights are none"):
        read_network(Network.of("tiny", tiny_denoiser_onnx()))
    model = onnx.load_model_from_string(small_onnx(small_network()))
    for tensor in model.graph.initializer:
        if tensor.name == "anscombe":
            tensor.CopyFrom(onnx.helper.make_tensor("anscombe", onnx.TensorProto.FLOAT, [], [1.0]))
    with pytest.raises(UnsupportedModel, match="gives other answers than these weights should"):
        read_network(Network.of("changed", model.SerializeToString()))
