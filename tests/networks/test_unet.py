"Behaviour of expr_course.networks.unet: conditions, heads, the warp, and the promise that zero moves nothing."
import pytest
import torch
from hypothesis import given, settings, strategies as st

from expr_course.networks.unet import (HEADS, ConditionBlock, ConditionalUNet, DisplacementHead, Parts,
                                       apply_parts, block, conv, count_parameters, flat_condition, strength,
                                       tile_condition, warp)

few = settings(max_examples=20, deadline=None)


def image(n=2, size=32, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def awake(net, scale=0.5, paint=0.02):
    "A network whose flow and paint no longer start at zero, so that it really edits."
    torch.nn.init.normal_(net.head.flow.weight, 0, scale)
    torch.nn.init.normal_(net.head.paint.weight, 0, paint)
    return net


# --- conditions

@few
@given(n=st.integers(1, 4), k=st.integers(1, 20), seed=st.integers(0, 99))
def test_per_side_networks_take_both_forms(n, k, seed):
    aus = torch.rand(n, k, generator=torch.Generator().manual_seed(seed))
    both = aus[..., None].expand(n, k, 2)
    assert torch.equal(flat_condition(aus, 2 * k), flat_condition(both, 2 * k))
    assert torch.equal(flat_condition(aus, k), aus)
    assert torch.equal(flat_condition(both, k), aus)


def test_order_is_left_right_au_by_au():
    aus = torch.arange(34.0).view(1, 17, 2)
    assert torch.equal(flat_condition(aus, 34)[0], torch.arange(34.0))
    assert flat_condition(aus[..., 0], 34)[0, :4].tolist() == [0, 0, 2, 2]


def test_unequal_sides_need_a_per_side_network():
    aus = torch.zeros(1, 17, 2)
    aus[0, 8, 0] = 1
    with pytest.raises(ValueError, match="per-side network .n_aus=34"):
        ConditionalUNet(17, 8)(image(1), aus)


@pytest.mark.parametrize(
    "bad", [torch.zeros(1, 16), torch.zeros(1, 17, 3), torch.zeros(17), torch.zeros(1, 17, 2).long(), [[0.0] * 17]]
)
def test_wrong_conditions_are_named(bad):
    with pytest.raises(ValueError, match="AUs"):
        flat_condition(bad, 34)


def test_tiles_hold_the_vector_everywhere():
    v = torch.rand(2, 5)
    t = tile_condition(v, torch.zeros(2, 8, 3, 4))
    assert t.shape == (2, 5, 3, 4) and torch.equal(t[:, :, 2, 1], v)
    with pytest.raises(ValueError, match="One condition vector per image"):
        tile_condition(v, torch.zeros(3, 8, 3, 4))


def test_two_convolutions_are_the_one_over_the_concatenation():
    torch.manual_seed(0)
    b, h, v = ConditionBlock(6, 4, 5, 3, after_norm=False), torch.randn(2, 6, 8, 8), torch.rand(2, 4)
    weight = torch.cat([b.image.weight, b.aus.weight], 1)
    one = torch.nn.functional.conv2d(torch.cat([h, tile_condition(v, h)], 1), weight, padding=1)
    assert torch.allclose(b(h, v), torch.relu(b.norm(one)), atol=1e-6)


@pytest.mark.parametrize("after, least, most", [(False, 0.0, 0.15), (True, 0.9, 1.1)])
def test_instance_norm_eats_a_tiled_condition(after, least, most):
    """Away from the border a tiled vector adds a constant per channel: the norm takes it out again. Behind the norm it
    stays."""
    torch.manual_seed(0)
    v, h = torch.rand(1, 17), torch.randn(1, 8, 64, 64)
    b = ConditionBlock(8, 17, 8, 3, after_norm=after)
    torch.nn.init.normal_(b.aus.weight, 0, 0.1)
    def told(v):
        return b.aus(tile_condition(v, h))
    def before_the_relu(v):
        return b.norm(b.image(h)) + told(v) if after else b.norm(b.image(h) + told(v))
    change = (before_the_relu(v) - before_the_relu(0 * v))[..., 8:-8, 8:-8].abs().mean()
    unit = 1 if after else b.image(h).std()
    assert least <= change / (told(v)[..., 8:-8, 8:-8].abs().mean() / unit) <= most


# --- warp and heads

def test_warp_looks_where_the_flow_points():
    x, flow = image(1, 32), torch.zeros(1, 2, 32, 32)
    assert torch.allclose(warp(x, flow), x, atol=1e-5)
    flow[:, 0] = 3 / 32                                  # look three pixels to the right, two up
    flow[:, 1] = -2 / 32
    y = warp(x, flow)
    assert torch.allclose(y[..., 2:, :-3], x[..., :-2, 3:], atol=1e-4)
    assert torch.allclose(y[..., 5, -1], x[..., 3, -1], atol=1e-4)       # the border is repeated


def test_warp_gradient_reaches_flow_and_image():
    a = (torch.arange(32) + 0.5) / 32
    x = (a[None, None, None] * a[:, None]).expand(1, 1, 32, 32).clone().requires_grad_(True)   # x·y: known slopes
    flow = torch.full((1, 2, 32, 32), 0.01, requires_grad=True)
    warp(x, flow).sum().backward()
    slope = flow.grad[0, 0, 8:24, 8:24]
    expected = (a[8:24] + 0.01)[:, None].expand(16, 16)                   # d(xy)/dx = y, in image widths
    assert torch.allclose(slope, expected, atol=0.01)
    assert x.grad.abs().sum() > 0


def test_the_warp_is_float32_under_autocast():
    x = image(1, 32)
    with torch.autocast("cpu", torch.bfloat16):
        y = warp(x, torch.zeros(1, 2, 8, 8, dtype=torch.bfloat16))
    assert y.dtype == torch.float32 and torch.allclose(y, x, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("amp", [False, True])
def test_heads_give_pictures_in_range(head, amp):
    torch.manual_seed(0)
    net, x, v = ConditionalUNet(34, 8, head), image(2, 48), torch.rand(2, 17, 2) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        y = net(x, v)
    assert y.shape == x.shape and y.dtype == x.dtype and y.abs().max() <= 1 + 1e-5
    y.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("size", [32, 64, 80, 256])
def test_any_size(size):
    net = ConditionalUNet(34, 4, "displacement")
    assert net(image(1, size), torch.rand(1, 17)).shape == (1, 3, size, size)


# --- zero moves nothing, a little moves little

@pytest.mark.parametrize("amp", [False, True])
def test_zero_is_the_input_bit_for_bit(amp):
    torch.manual_seed(0)
    net, x, v = awake(ConditionalUNet(34, 8, "displacement")), image(3, 64), torch.rand(3, 17, 2)
    v[1] = 0
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        y = net(x, v)
    assert torch.equal(y[1], x[1]) and not torch.equal(y[0], x[0]) and not torch.equal(y[2], x[2])


def test_a_small_edit_is_small():
    torch.manual_seed(0)
    net, x, v = awake(ConditionalUNet(34, 8, "displacement")), image(2, 64), torch.rand(2, 17, 2)
    with torch.no_grad():
        moved = [(net(x, t * v) - x).abs().mean().item() for t in (0, 1e-4, 1e-3, 1e-2, 1.0)]
    assert moved == sorted(moved) and moved[0] == 0
    assert moved[1] < 0.01 * moved[-1] and 8 < moved[2] / moved[1] < 12      # near zero: proportional, no jump


@few
@given(scale=st.floats(0, 5), k=st.integers(1, 34))
def test_strength_grows_from_zero_and_stays_below_one(scale, k):
    v = torch.full((1, k), scale)
    s = strength(v)
    assert s.shape == (1, 1, 1, 1) and 0 <= s <= 1 and (s == 0) == (v.norm() == 0)
    assert strength(2 * v) >= s


def test_strength_has_a_finite_gradient_at_zero():
    v = torch.zeros(1, 34, requires_grad=True)
    strength(v).sum().backward()
    assert torch.isfinite(v.grad).all()


def test_flow_starts_at_zero_and_learns():
    torch.manual_seed(0)
    net, x, v = ConditionalUNet(34, 8, "displacement"), image(2, 32), torch.rand(2, 17)
    assert net.parts(x, v).flow.abs().max() == 0
    (net(x, v) - x.roll(1, -1)).abs().mean().backward()
    assert net.head.flow.weight.grad.abs().sum() > 0


def test_flow_keeps_its_reach():
    torch.manual_seed(0)
    head = DisplacementHead(8, reach=0.05)
    torch.nn.init.normal_(head.flow.weight, 0, 100)
    parts = head(torch.randn(2, 8, 32, 32), image(2), torch.ones(2, 34))
    assert 0.04 < parts.flow.abs().max() <= 0.05 and parts.flow.shape == (2, 2, 8, 8)


def test_parts_apply_at_full_resolution():
    "The same decision on a picture four times as large is the same edit."
    torch.manual_seed(0)
    net, v = awake(ConditionalUNet(34, 8, "displacement"), 0.3, paint=0), torch.rand(1, 17, 2)
    big = torch.nn.functional.interpolate(image(1, 8), 256, mode="bicubic", align_corners=False).clamp(-1, 1)
    small = torch.nn.functional.avg_pool2d(big, 4)
    with torch.no_grad():
        parts = net.parts(small, v)
        down = torch.nn.functional.avg_pool2d(apply_parts(big, parts), 4)
        assert torch.equal(apply_parts(small, parts), net(small, v))
        assert (net(small, v) - small).abs().mean() > 0.02
        assert (down - net(small, v)).abs().mean() < 0.01
    assert torch.equal(apply_parts(big, net.parts(small, 0 * v)), big)


def test_apply_parts_blends():
    x, colour = image(1), image(1, seed=1)
    assert torch.equal(apply_parts(x, Parts(colour)), colour)
    assert torch.allclose(
        apply_parts(x, Parts(colour, torch.full((1, 1, 32, 32), 0.25))), 0.75 * x + 0.25 * colour, atol=1e-6
    )


# --- the network

def test_without_skips_detail_cannot_pass():
    assert count_parameters(ConditionalUNet(34, 8, skips="none")) < count_parameters(ConditionalUNet(34, 8))


def test_same_seed_same_network_and_config_rebuilds_it():
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(ConditionalUNet(17, 8, "displacement"))
    other = ConditionalUNet(**nets[0].config)
    other.load_state_dict(nets[0].state_dict())
    x, v = image(1), torch.rand(1, 17)
    assert torch.equal(nets[0](x, v), nets[1](x, v)) and torch.equal(other(x, v), nets[0](x, v))


def test_blocks_start_narrow_and_without_bias():
    torch.manual_seed(0)
    layer = conv(64, 64, 3)
    assert layer.bias is None and abs(layer.weight.std().item() - 0.02) < 0.002
    assert block(3, 8, 4, 2)(image(1)).shape == (1, 8, 16, 16) and block(3, 8, 4, 2, up=True)(image(1)).shape == (
        1, 8, 64, 64,
    )


@pytest.mark.parametrize("make, words", [
    (lambda: ConditionalUNet(head="magic"), "no head 'magic'"), (lambda: ConditionalUNet(skips="msf"), "skips='msf'"),
    (lambda: ConditionalUNet(34, 4)(image(1)[..., :20], torch.zeros(1, 17)), "multiples of 16"),
    (lambda: ConditionalUNet(34, 4)(image(1)[:, :1], torch.zeros(1, 17)), "N×3×H×W"),
    (lambda: ConditionalUNet(34, 4)(image(1).to(torch.uint8), torch.zeros(1, 17)), "float tensor"),
    (lambda: ConditionalUNet(34, 4)(image(2), torch.zeros(1, 17)), "One condition vector per image")])
def test_errors_say_what_and_how(make, words):
    with pytest.raises(ValueError, match=words):
        make()
