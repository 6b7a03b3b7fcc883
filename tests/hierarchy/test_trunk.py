"The trunk: the identity until it has learned, exact at zero, and windows that agree with the whole."
import pytest
import torch

from expr_course.action_units import au_vector, sample_aus
from expr_course.faces import render, sample_identities
from expr_course.networks.trunk import Block, Condition, Trunk, TrunkSettings, channel_norm, warp_window
from expr_course.networks.unet import Parts, apply_parts, strength, warp

SMALL = TrunkSettings(32, 48, 24, 32, 1, told=8)


def awake(network):
    "Random numbers instead of the zeros of the last layers"
    for head in (network.flow, network.paint):
        torch.nn.init.normal_(head.weight, 0, 0.3)
    return network.eval()


@pytest.fixture
def told():
    torch.manual_seed(0)
    return torch.rand(2, 3, 32, 48) * 2 - 1, sample_aus(2, 3).flatten(1), torch.rand(2, 8, 16, 24)


@torch.no_grad()
def test_untrained_does_nothing(told):
    window, v, groups = told
    flow, paint = Trunk(SMALL)(window, v, strength(v), told=groups)
    assert flow.shape == (2, 2, 32, 48) and paint.shape == window.shape
    assert not flow.any() and not paint.any()


@torch.no_grad()
def test_zero_is_exact_and_small_is_small(told):
    window, v, groups = told
    network = awake(Trunk(SMALL))
    flow, paint = network(window, 0 * v, strength(0 * v), told=groups)
    assert not flow.any() and not paint.any()
    sizes = [sum(t.abs().mean() for t in network(window, k * v, strength(k * v), told=groups)) for k in (1e-3, 0.1, 1)]
    assert 0 < sizes[0] < 0.05 * sizes[1] < sizes[2]


@torch.no_grad()
def test_one_face_does_not_depend_on_its_neighbours():
    faces = render(sample_identities(3, 5), sample_aus(3, 5), 64)
    network, v = awake(Trunk(TrunkSettings(64, 64, 24, 32, 1))), torch.zeros(3, 34)
    v[1] = au_vector({"AU12": 0.5}).flatten()
    flow, paint = network(faces.image, v, strength(v))
    out = apply_parts(faces.image, Parts(flow=flow, paint=paint, strength=strength(v)))
    assert torch.equal(out[0], faces.image[0]) and torch.equal(out[2], faces.image[2])
    assert not torch.equal(out[1], faces.image[1])


def test_settings_and_sizes(told):
    window, v, groups = told
    with pytest.raises(ValueError, match="multiples"):
        TrunkSettings(50, 48)
    with pytest.raises(ValueError, match="32×48"):
        Trunk(SMALL)(window[..., :32], v, strength(v), told=groups)
    network = Trunk(SMALL)
    assert Trunk(TrunkSettings(**network.config)).state_dict().keys() == network.state_dict().keys()


def test_window_warp_is_a_window_of_the_warp():
    torch.manual_seed(0)
    image, flow = torch.rand(2, 3, 64, 64), 0.1 * torch.randn(2, 2, 64, 64)
    assert torch.allclose(warp_window(image, flow, torch.zeros(2, 2)), warp(image, flow), atol=1e-5)
    for x, y in ((5, 9), (30, 0), (40, 48)):
        part = warp_window(image, flow[..., y:y + 16, x:x + 24], torch.tensor([[x, y], [x, y]]))
        assert torch.allclose(part, warp(image, flow)[..., y:y + 16, x:x + 24], atol=1e-5)


def test_norm_and_block():
    torch.manual_seed(0)
    x = 3 + torch.randn(2, 24, 8, 8)
    normed = channel_norm(x)
    assert normed.mean(1).abs().max() < 1e-5 and (normed.var(1, correction=0) - 1).abs().max() < 1e-2
    block, numbers = Block(24, 128), Condition(34)(torch.randn(2, 34))
    assert numbers.shape == (2, 128) and block(x, numbers).shape == x.shape
    assert torch.equal(block(x, numbers), block(x, numbers))


def test_gradients_reach_everything_but_not_the_flow_through_the_paint(told):
    window, v, groups = told
    network = awake(Trunk(SMALL))
    flow, paint = network(window, v, strength(v), told=groups)
    paint.sum().backward(retain_graph=True)
    assert network.flow.weight.grad is None and network.stem.weight.grad.abs().max() > 0
    flow.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
