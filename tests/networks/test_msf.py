"Behaviour of expr_course.networks.msf: the unit's equations, and the published parameter counts."
import pytest
import torch

from expr_course.networks.gan import Discriminator
from expr_course.networks.msf import MSFUNet, MSFUnit, SimpleMSF
from expr_course.networks.unet import HEADS, count_parameters, tile_condition


@pytest.mark.parametrize("width, generator, discriminator", [(64, 57.6, 44.9), (32, 21.4, 11.3), (16, 5.43, 2.83)])
def test_parameter_counts_of_paper_one(width, generator, discriminator):
    with torch.device("meta"):
        g, d = MSFUNet(17, width, head="direct"), Discriminator(17, width, 128)
    assert abs(count_parameters(g) / 1e6 - generator) < 0.05
    assert abs(count_parameters(d) / 1e6 - discriminator) < 0.05


@pytest.mark.parametrize("unit", [MSFUnit, SimpleMSF])
@pytest.mark.parametrize("channels, below", [(8, 16), (16, 16), (16, 8)])
def test_unit_keeps_the_size_of_its_skip(unit, channels, below):
    e, l, v = torch.randn(2, channels, 16, 16), torch.randn(2, below, 8, 8), torch.rand(2, 34)
    assert unit(channels, below, 34)(e, l, v).shape == e.shape


def test_unit_is_its_equations():
    torch.manual_seed(0)
    unit, cat = MSFUnit(8, 16, 5, after_norm=False), lambda *t: torch.cat(t, 1)
    e, l, v = torch.randn(2, 8, 16, 16), torch.randn(2, 16, 8, 8), torch.rand(2, 5)
    weight = cat(unit.tell.image.weight, unit.tell.aus.weight)
    h0 = torch.relu(unit.tell.norm(torch.nn.functional.conv2d(cat(e, tile_condition(v, e)), weight, padding=2)))
    high, low = cat(unit.high_high(h0), unit.low_high(l)), cat(unit.high_low(h0), unit.low_low(l))
    assert high.shape == (2, 8, 16, 16) and low.shape == (2, 16, 8, 8)
    z = cat(high, unit.raise_low(low))
    assert torch.allclose(unit(e, l, v), cat(unit.out3(z), unit.out5(z)), atol=1e-5)


def test_the_aus_enter_four_times():
    "Cut the condition everywhere but in one place: each place alone still changes the picture."
    torch.manual_seed(0)
    net, x, v = MSFUNet(34, 8), torch.rand(1, 3, 64, 64) * 2 - 1, torch.rand(1, 17, 2)
    doors = [net.bottleneck] + [u.tell for u in net.units]
    assert len(doors) == 4
    for one in doors:
        kept = [d.aus.weight.data.clone() for d in doors]
        for d in doors:
            if d is not one:
                d.aus.weight.data.zero_()
        with torch.no_grad():
            assert (net(x, v) - net(x, -v)).abs().max() > 1e-4
        for d, w in zip(doors, kept):
            d.aus.weight.data.copy_(w)


@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_learns(head):
    torch.manual_seed(0)
    net, x = MSFUNet(34, 8, head), torch.rand(2, 3, 64, 64) * 2 - 1
    if head == "displacement":
        torch.nn.init.normal_(net.head.flow.weight, 0, 0.02)
    net(x, torch.rand(2, 17, 2)).square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_skips_by_name_grow_in_order():
    sizes = [count_parameters(MSFUNet(34, 8, skips=s)) for s in MSFUNet.skip_kinds]
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    for s in MSFUNet.skip_kinds:
        assert MSFUNet(34, 4, "displacement", skips=s)(torch.zeros(1, 3, 32, 32), torch.zeros(1, 17)).shape == (
            1, 3, 32, 32,
        )
    with pytest.raises(ValueError, match="skips='both'"):
        MSFUNet(skips="both")


def test_zero_is_the_input_here_too():
    torch.manual_seed(0)
    net, x = MSFUNet(**MSFUNet(34, 8, "displacement").config), torch.rand(2, 3, 64, 64) * 2 - 1
    torch.nn.init.normal_(net.head.flow.weight)
    assert torch.equal(net(x, torch.zeros(2, 17, 2)), x) and not torch.equal(net(x, torch.ones(2, 17, 2)), x)
