"""ONNX: the file answers as the network does (lesson 14e)."""
import sys

import pytest
import torch

from expr_course import scale
from expr_course.parsing.bisenet import BiSeNet
from expr_course.parsing.unet import ParsingUNet
from expr_course.scale import export_onnx, onnx_difference

BUILDERS = {"unet": lambda: ParsingUNet(4), "bisenet-2": lambda: BiSeNet(8, 2), "bisenet-8": lambda: BiSeNet(8, 8)}


def settled(network):
    """In training mode, with averages of what it saw, as after a training."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.rand(8, 3, 64, 64) * 2 - 1)
    return network


@pytest.mark.parametrize("name", BUILDERS)
def test_onnx_any_batch(name, tmp_path):
    pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = settled(BUILDERS[name]())
    path = export_onnx(network, tmp_path / "new" / "parser.onnx", 64)
    assert network.training, "the mode is kept"
    assert [p.name for p in path.parent.iterdir()] == ["parser.onnx"], "nothing else is left"
    for n in (1, 2, 5):
        assert onnx_difference(network.eval(), path, torch.rand(n, 3, 64, 64) * 2 - 1) < 1e-4
    with torch.no_grad():
        next(network.parameters()).mul_(1.1)
    assert onnx_difference(network, path, torch.rand(2, 3, 64, 64) * 2 - 1) > 1e-4, "a difference is found"


def test_an_export_that_fails_leaves_the_old_file_and_the_mode(tmp_path):
    pytest.importorskip("onnx"), pytest.importorskip("onnxscript")
    path, network = tmp_path / "parser.onnx", ParsingUNet(2).train()
    path.write_bytes(b"what was there")
    with pytest.raises(Exception):  # noqa: B017 - torch's exporter has an error of its own
        export_onnx(network, path, 50)
    assert network.training and path.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["parser.onnx"]


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    network = ParsingUNet(2)
    for action in (lambda: export_onnx(network, tmp_path / "x.onnx"),
                   lambda: onnx_difference(network, tmp_path / "x.onnx", torch.zeros(1, 3, 32, 32))):
        with pytest.raises(ImportError, match=r"expr_course\[export\]"):
            action()
