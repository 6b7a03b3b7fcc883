"""BiSeNet (lesson 14a): parts, counts, sizes, and that it is what its name says."""
import pytest
import torch
import torchvision

from expr_course.parsing.bisenet import (AttentionRefinement, BiSeNet, ContextPath, FeatureFusion, ResNet18,
                                         SpatialPath)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_trunk_is_torchvisions():
    torch.manual_seed(0)
    theirs, ours = torchvision.models.resnet18(weights=None).eval(), ResNet18(64).eval()
    loaded = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not loaded.missing_keys and loaded.unexpected_keys == ["fc.weight", "fc.bias"]
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = theirs.layer4(
            theirs.layer3(theirs.layer2(theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))))
        )
    with torch.no_grad():
        assert torch.allclose(ours(x)[2], features, atol=1e-5)


def test_counts():
    assert count(BiSeNet(64, spatial=False)) == 13_300_416, "the published 13.3 M"
    assert count(BiSeNet(64)) == 13_300_416 + count(SpatialPath(64)) and round(count(BiSeNet(64)) / 1e6, 1) == 13.4
    assert sum(v.numel() for v in BiSeNet(28, 2).state_dict().values()) * 2 < 6 * 2**20
    assert count(BiSeNet(16, 2)) == count(BiSeNet(16, 8)) + 3 * 19 * 64, "a finer map costs one wider 1×1 convolution"


def test_parts():
    x = torch.randn(2, 3, 64, 96)
    for stride in (8, 4, 2):
        assert SpatialPath(8, stride)(x).shape == (2, 16, 64 // stride, 96 // stride)
    middle, deep, eighth = ContextPath(8)(x)
    assert middle.shape == eighth.shape == (2, 16, 8, 12) and deep.shape == (2, 16, 4, 6)
    assert AttentionRefinement(16, 8)(torch.randn(2, 16, 4, 4)).shape == (2, 8, 4, 4)
    assert FeatureFusion(16)(torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)).shape == (2, 16, 4, 4)


@pytest.mark.parametrize("stride, spatial", [(8, True), (4, True), (2, True), (8, False)])
def test_outputs(stride, spatial):
    network = BiSeNet(8, stride, spatial)
    x = torch.randn(2, 3, 64, 32)
    assert [tuple(s.shape) for s in network.train()(x)] == [(2, 19, 64, 32)] * 3
    assert network.eval()(x).shape == (2, 19, 64, 32)


def test_every_part_learns():
    network = BiSeNet(8, 4).train()
    sum(s.square().mean() for s in network(torch.randn(4, 3, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_errors():
    with pytest.raises(ValueError, match="2, 4 or 8"):
        BiSeNet(8, 3)
    with pytest.raises(ValueError, match="spatial=False"):
        BiSeNet(8, 4, spatial=False)
    with pytest.raises(ValueError, match="resize to 64×64"):
        BiSeNet(8).eval()(torch.zeros(1, 3, 70, 64))
