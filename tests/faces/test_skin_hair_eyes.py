"""Skin, hair and eyes as layers: boxes that lose nothing, numbers that hold for everybody, and what hangs on the jaw
(lessons 02g, 02h, 02i)."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expr_course.action_units import au_vector
from expr_course.faces import eyes, hair, head
from expr_course.faces.identity import mirror, repeat, replace, sample_identities
from expr_course.faces.painter import HAIR, L_BROW, L_EYE, R_BROW, R_EYE, blank
from expr_course.faces.scene import WHOLE, make_scene

MAPS = (head.redness, head.freckles, head.bags)
LAYERS = (hair.back_hair, head.neck, head.skin, eyes.eyes, eyes.brows, hair.front_hair)
FACE = LAYERS[2:5]


def canvas_of(people, layers, aus=None, size=64, whole=()):
    """The layers painted from back to front; those in `whole` with a box as large as the picture."""
    aus = torch.zeros(len(people), 17, 2) if aus is None else aus
    boxes = {
        draw.__name__: draw.box._replace(limits=WHOLE.limits) if draw in whole else draw.box for draw in layers + MAPS
    }
    s = make_scene(people, aus, size, boxes)
    canvas = blank(s.u)
    for layer in layers:
        where = s.boxes[layer.__name__]
        if where is None: continue
        part = canvas.part(where)
        layer(part, s.part(layer.__name__))
        canvas.put(part, where)
    return canvas


def states(*expressions):
    return torch.stack([au_vector(values) for values in expressions])


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10 ** 6), st.sampled_from([48, 64, 96]))
def test_boxes_lose_nothing(seed, size):
    aus = (torch.rand(4, 17, 2, generator=torch.Generator().manual_seed(seed)) > 0.5).float()
    people = sample_identities(4, seed=seed)
    boxed, whole = (canvas_of(people, LAYERS, aus, size, which) for which in ((), LAYERS + MAPS))
    assert torch.equal(boxed.image, whole.image) and torch.equal(boxed.labels, whole.labels)


def test_face_keeps_the_mirror_law():
    people, aus = sample_identities(6, seed=3), torch.rand(6, 17, 2, generator=torch.Generator().manual_seed(3))
    here, there = canvas_of(people, FACE, aus), canvas_of(mirror(people), FACE, aus.flip(-1))
    assert torch.allclose(here.image.flip(-1), there.image, atol=2e-3)


def test_shadows_are_warm_and_light_is_not():
    tone = torch.tensor([0.88, 0.62, 0.50]).view(1, 3, 1, 1)
    light = torch.linspace(0.05, 1.3, 40).view(1, 1, 40)
    color = head.lit(tone, light)[0, :, 0]
    ratio = color[0] / color[2]
    assert (ratio.diff() <= 1e-5).all() and ratio[0] > 1.1 * ratio[-1]
    bright = light[0, 0] >= 1
    assert torch.allclose(color[:, bright], (tone[0, :, 0] * light[0])[:, bright])


def test_redness_is_the_same_share_of_every_skin():
    blush = torch.tensor([0.0, 1.0])
    people = replace(repeat(sample_identities(1, seed=1), 2), blush=blush, freckles=-1.0, oily=0.0, yaw=0.0)
    shares = []
    for tone in (0.0, 0.5, 1.0):
        calm, red = canvas_of(replace(people, skin_tone=tone), (head.skin,)).image[:, 1]
        there = (calm - red) > 0.01
        shares.append(((calm - red) / calm)[there].max().item())
    assert max(shares) - min(shares) < 0.04


def test_nobody_bald_has_hair_and_short_hair_has_none_behind():
    people = replace(repeat(sample_identities(1, seed=0), 3), hair_style=torch.tensor([0.0, 0.2, 0.9]))
    count = (canvas_of(people, LAYERS).labels == HAIR).flatten(1).sum(1)
    assert count[0] == 0 < count[1] < count[2]
    behind = (canvas_of(people, (hair.back_hair,)).labels == HAIR).flatten(1).sum(1)
    assert behind[0] == behind[1] == 0 < behind[2]


def test_beard_hangs_on_the_jaw_and_spares_the_lips():
    man = replace(
        repeat(sample_identities(1, seed=2), 2), beard=0.9, moustache=-1.0, stubble=-1.0, hair_front=0.2, yaw=0.0,
        pitch=0.0, roll=0.0,
    )
    s = make_scene(man, states({}, {"AU26": 1.0, "AU25": 0.7}), 96)
    s.where, s.whole = (slice(None),) * 3, s
    hidden, _ = hair.whiskers(s)
    rows = (hidden * s.v * s.face).sum((1, 2)) / (hidden * s.face).sum((1, 2))
    assert rows[1] > rows[0] + 0.01
    lips = (s.v - s.p.mouth_y).abs() < 0.01
    middle = lips & (s.U < 0.05)
    assert hidden[0][middle[0]].max() < 0.1
    assert (hidden * s.face)[s.v < 0.0].max() == 0


@pytest.mark.parametrize("closed, eye, other", [("AU45L", L_EYE, R_EYE), ("AU45R", R_EYE, L_EYE)])
def test_a_wink_shuts_one_eye(closed, eye, other):
    person = replace(sample_identities(1, seed=4), hair_style=0.0)
    open_, wink = canvas_of(repeat(person, 2), FACE, states({}, {closed: 1.0})).labels
    assert (open_ == eye).any() and not (wink == eye).any()
    assert torch.equal(open_ == other, wink == other)


def test_a_brow_is_one_region_however_soft():
    people = replace(sample_identities(8, seed=5), brow_soft=1.0, hair_style=0.0, yaw=0.0, roll=0.0, pitch=0.0)
    labels = canvas_of(people, FACE, size=128).labels
    for brow in (L_BROW, R_BROW):
        columns = (labels == brow).any(1).int()
        assert (columns.diff(dim=1) > 0).sum(1).max() == 1, "no gap along the brow"


def test_makeup_is_a_habit():
    def p(**numbers):
        return eyes.made_up(
            make_scene(replace(sample_identities(1, seed=0), makeup=0.8, **numbers), torch.zeros(1, 17, 2), 32).p
        ).item()
    assert p(beard=0.5, stubble=-1.0, hair_style=0.8) == 0
    assert 0 < p(beard=-1.0, stubble=-1.0, hair_style=0.2) < p(beard=-1.0, stubble=-1.0, hair_style=0.8)
