"""The brushes: coverage, colours, textures, the canvas and its parts; scenes seen through boxes (lessons 02e to
02m)."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from expr_course.faces import scene
from expr_course.faces.geometry import params
from expr_course.faces.identity import RANGES, Identity, mirror, replace, sample_identities
from expr_course.faces.layers import LABELS, LAYER_BOXES, LAYERS, paint_layer, paint_layers
from expr_course.faces.painter import (CLOTH, R_EYE, SKIN_TONES, Canvas, all_textures, along, blank, coverage,
                                       hair_color, hsv, inside, iris_color, rgb, skin_color, texture)
from expr_course.faces.scene import BOXES, WHOLE, make_scene


def grid(size):
    line = (torch.arange(size) + 0.5) * 2 / size - 1
    return line[None, None, :].expand(1, size, size), line[None, :, None].expand(1, size, size)


def supersampled(f, size, times=16):
    return F.avg_pool2d((f(*grid(size * times)) < 0).float()[:, None], times)[:, 0]


# ---- coverage ----

@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(0.3, 0.6), st.floats(0.01, 100))
def test_coverage_is_the_share_of_a_pixel(x0, y0, radius, unit):
    def disc(x, y):
        return unit * ((x - x0) ** 2 + (y - y0) ** 2 - radius ** 2)
    assert (coverage(disc(*grid(32))) - supersampled(disc, 32)).abs().max() < 0.12


@given(st.floats(-2, 2, width=32))
def test_inside_is_exact_for_edges_along_an_axis(d):
    assert inside(torch.tensor(d), 1.0).item() == pytest.approx(min(max(0.5 - d, 0), 1))


def test_coverage_moves_with_its_shape():
    lift = torch.tensor(0.013, requires_grad=True)
    x, y = grid(24)
    area = coverage((y + lift).abs() - 0.3)[:, :12].sum()
    slope, = torch.autograd.grad(area, lift)
    assert slope.item() == pytest.approx(24 * 12, rel=0.02)


# ---- colours ----

def test_hsv():
    pure = hsv(torch.tensor([0, 1 / 3, 2 / 3, 1.0]).view(-1, 1, 1), 1.0, 1.0)[:, :, 0, 0]
    assert torch.allclose(pure, torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1.0, 0, 0]]), atol=1e-6)
    assert torch.allclose(hsv(torch.tensor([[[0.3]]]), 0.0, 0.6), torch.full((1, 3, 1, 1), 0.6))


def test_along_meets_its_stops():
    x = torch.linspace(0, 1, len(SKIN_TONES)).view(-1, 1, 1)
    assert torch.allclose(along(SKIN_TONES, x)[:, :, 0, 0], torch.tensor(SKIN_TONES), atol=1e-6)


def test_colours_of_people():
    p = params(sample_identities(500, seed=0))
    skin = skin_color(p)
    for color in (skin, hair_color(p), iris_color(p)):
        assert color.shape == (500, 3, 1, 1) and 0 <= color.min() and color.max() <= 1
    assert (skin[:, 0] > skin[:, 1]).all() and (skin[:, 1] > skin[:, 2]).all(), "no skin is green or blue"
    bright = skin.mean(1).flatten()
    assert bright.min() < 0.3 and bright.max() > 0.8, "the whole range occurs"
    order = params(replace(sample_identities(50, seed=0), skin_tone=torch.linspace(0, 1, 50), undertone=0.0))
    assert (skin_color(order).mean(1).flatten().diff() < 0).all()
    assert rgb(1, 0, 0.5, skin).shape == (1, 3, 1, 1)


# ---- textures ----

def test_textures():
    people = sample_identities(2, seed=0)
    x, y = (part.expand(2, 20, 20) * 3 for part in grid(20))
    value = texture(people, 0, x, y)
    assert value.shape == (2, 20, 20) and value.abs().max() <= 0.5
    there, again = all_textures(people, x, y, x, y), all_textures(mirror(people), -x, y, -x, y)
    for name in ("skin", "hair", "back", "glow"):
        assert torch.allclose(getattr(there, name), getattr(again, name), atol=1e-5), (
            "a mirrored person is read mirrored"
        )
    assert set(vars(there)) == {"skin", "pores", "hair", "back", "glow"}


# ---- the canvas ----

def test_paint_and_mark():
    x, _ = grid(8)
    c = blank(x)
    assert (
        (c.labels == 0).all()
        and (c.image == 0).all()
        and torch.equal(c.right[0, 0], torch.tensor([1] * 4 + [0] * 4, dtype=torch.uint8))
    )
    c.paint(torch.full_like(x, 0.4), rgb(1, 1, 1, x), 3)
    assert torch.allclose(c.image, torch.full_like(c.image, 0.4)) and (c.labels == 0).all(), (
        "less than half covered: no label"
    )
    c.paint(torch.full_like(x, 0.6), rgb(0, 0, 0, x), 4, 5)
    assert torch.allclose(c.image, torch.full_like(c.image, 0.16)) and torch.equal(c.labels, 4 + c.right)
    before = c.image
    c.mark(torch.ones_like(x), 9)
    assert c.image is before and (c.labels == 9).all()


def test_part_and_put():
    x = grid(8)[0].expand(3, -1, -1)
    c = blank(x)
    for who in (slice(None), torch.tensor([0, 2])):
        where = (who, slice(2, 5), slice(1, 4))
        part = c.part(where)
        assert isinstance(part, Canvas)
        part.paint(torch.ones_like(part.right, dtype=torch.float), torch.ones(1, 3, 1, 1), 7)
        fresh = blank(x)
        fresh.put(part, where)
        assert fresh.image.sum() == part.image.sum() > 0 and (fresh.labels == 7).sum() == part.labels.numel()
        assert c.image.sum() == 0, "a part is a copy"


def test_gradients_pass_through_parts():
    x = grid(8)[0]
    cover = torch.full_like(x[:, 2:6, 2:6], 0.5).requires_grad_()
    c, where = blank(x), (slice(None), slice(2, 6), slice(2, 6))
    for color in (1.0, 0.25):
        part = c.part(where)
        part.paint(cover, torch.full((1, 3, 1, 1), color))
        c.put(part, where)
    c.image.sum().backward()
    # image = lerp(lerp(0, 1, k), 1/4, k) = k (1 - k) + k / 4: slope 1 - 2k + 1/4 = 1/4 at k = 1/2, for three channels
    assert torch.allclose(cover.grad, torch.full_like(cover, 0.75))


# ---- scenes and boxes ----

def extreme(n, seed):
    """People at the ends of all their ranges."""
    people = sample_identities(n, seed=seed)
    low, high = (torch.tensor(bound) for bound in zip(*RANGES.values()))
    pick = torch.rand(n, len(low), generator=torch.Generator().manual_seed(seed)) > 0.5
    return Identity(torch.where(pick, high, low), people.textures, people.keys)


@pytest.mark.parametrize("size", [47, 64, 96])
@pytest.mark.parametrize("kind", ["usual", "extreme"])
def test_boxes_change_nothing(kind, size, cases, monkeypatch):
    """Furrows, bulges, light and silhouette are bit for bit those that a box as large as the picture gives."""
    for seed in range(cases(3, 60)):
        people = sample_identities(4, seed=seed) if kind == "usual" else extreme(4, seed)
        g = torch.Generator().manual_seed(seed)
        aus = torch.rand(4, 17, 2, generator=g) if seed % 2 else (torch.rand(4, 17, 2, generator=g) > 0.5).float()
        ours, whole = make_scene(people, aus, size), make_scene(people, aus, size, dict.fromkeys(BOXES, WHOLE))
        for name in ("light", "shine", "furrow", "face"):
            assert torch.equal(getattr(ours, name), getattr(whole, name)), (name, seed)


@pytest.mark.parametrize("kind", ["usual", "extreme"])
def test_boxes_of_layers_change_nothing(kind, cases):
    whole = {name: box._replace(limits=WHOLE.limits) for name, box in LAYER_BOXES.items()}
    for seed in range(cases(3, 60)):
        people = sample_identities(4, seed=seed) if kind == "usual" else extreme(4, seed)
        aus = torch.rand(4, 17, 2, generator=torch.Generator().manual_seed(seed))
        aus = aus.round() if seed % 2 else aus
        a, b = (paint_layers(make_scene(people, aus, 96, boxes)) for boxes in (LAYER_BOXES, whole))
        assert torch.equal(a.labels, b.labels) and (a.image - b.image).abs().max() < 1e-6


def test_a_box_that_is_too_small_is_noticed(monkeypatch):
    small = BOXES | dict(mouth_furrows=scene.Box(lambda p: (p.mouth_y - 0.08, p.mouth_y + 0.16, p.mouth_width)))
    people, aus = sample_identities(4, seed=0), torch.ones(4, 17, 2)
    assert not torch.equal(make_scene(people, aus, 64, small).light, make_scene(people, aus, 64).light)


def test_a_part_shows_what_the_whole_knows():
    s = make_scene(sample_identities(5, seed=0), torch.rand(5, 17, 2), 64, LAYER_BOXES)
    for name in ("mouth", "hat", "glasses", "necklace"):
        if s.boxes[name] is None:
            continue
        people, rows, columns = s.boxes[name]
        part = s.part(name)
        assert part is s.part(name)
        assert torch.equal(part.light, s.light[people][:, rows, columns]) and torch.equal(part.p.age, s.p.age[people])
        for mine, all_ in ((part.a.AU12, s.a.AU12), (part.texture.hair, s.texture.hair)):
            assert torch.equal(mine, all_[people][:, rows, columns])
        with pytest.raises(AttributeError):
            part.nonsense


# ---- layers ----

def test_every_layer_has_a_box_and_a_docstring():
    assert len(LABELS) == 19 and len(set(LABELS)) == 19 and CLOTH == 18 and LABELS[R_EYE] == "r_eye"
    assert {layer.__name__ for layer in LAYERS} < set(LAYER_BOXES)
    assert all(layer.__doc__ and LAYER_BOXES[layer.__name__] is layer.box for layer in LAYERS)


@pytest.mark.parametrize("worn, number, label", [("hat", "hat", "hat"), ("glasses", "glasses", "eye_g"),
                                                 ("earrings", "earring", "ear_r"), ("necklace", "necklace", "neck_l")])
def test_worn_by_some(worn, number, label):
    """A worn thing changes those who wear it, and nobody else; if nobody does, its layer is not even called."""
    low, high = RANGES[number]
    # a necklace may vanish below a neckline or the picture's edge: theirs do not
    four = sample_identities(7, seed=2)[3:]
    people = replace(
        four, hair_style=0.3, collar=0.0, collar_kind=0.0, hand=-1.0, **{number: torch.tensor([low, high, low, high])}
    )
    bare = replace(people, **{number: low})
    aus = torch.zeros(4, 17, 2)
    with_, without = (paint_layers(make_scene(who, aus, 64, LAYER_BOXES)) for who in (people, bare))
    changed = (with_.image != without.image).flatten(1).any(1)
    assert changed.tolist() == [False, True, False, True]
    present = (with_.labels == LABELS.index(label)).flatten(1).any(1)
    assert present.tolist() == [False, True, False, True]
    s = make_scene(bare, aus, 64, LAYER_BOXES)
    assert s.boxes[worn] is None
    paint_layer(None, s, {layer.__name__: layer for layer in LAYERS}[worn])
