"""Label maps: two orders, parts, palettes, and a detector that refuses the wrong one."""
import numpy as np
import pytest
from hypothesis import given, strategies as st
from layouts import drawn
from PIL import Image

from expr_course.data import label_maps
from expr_course.faces import LABELS
from expr_course.data.label_maps import (ORDERS, PALETTES, check_order, from_colors, mirrored, order_scores,
                                         paint_parts, part_mask, read_numbers, remap, swap_sides, to_order)

MAPS = list(drawn(6, 64)[1])


def test_orders_name_the_same_classes():
    assert set(ORDERS["second"]) == set(ORDERS["official"]) == set(LABELS) and ORDERS["official"] == LABELS
    assert [ORDERS["second"].index(n) for n in ("l_brow", "eye_g", "nose", "hair", "hat")] == [2, 6, 10, 17, 18]


@given(st.lists(st.integers(0, 18), min_size=1, max_size=40), st.sampled_from(list(ORDERS)))
def test_there_and_back(values, order):
    m = np.array([values], np.uint8)
    assert np.array_equal(remap(to_order(m, order), order), m)
    assert np.array_equal(swap_sides(swap_sides(m)), m)


@pytest.mark.parametrize("bad, says", [
    (np.full((2, 2), 19), "0 to 18"), (np.full((2, 2), 255, np.uint8), "one part"),
    (np.zeros((2, 2)), "whole numbers"), (np.zeros((2, 2, 3), np.uint8), "H×W"), (np.full((2, 2), -1), "0 to 18")])
def test_what_is_no_label_map(bad, says):
    with pytest.raises(ValueError, match=says):
        remap(bad, "official")


def test_unknown_order():
    with pytest.raises(ValueError, match="official, second"):
        remap(MAPS[0], "third")


def test_sides():
    assert not any(mirrored(m) for m in MAPS)
    assert all(mirrored(swap_sides(m)) for m in MAPS)
    assert all(mirrored(m[:, ::-1]) for m in MAPS)
    assert mirrored(np.zeros((4, 4), np.uint8)) is None
    assert [int(v) for v in swap_sides(np.arange(19, dtype=np.uint8)[None])[0]] == [
        0, 1, 2, 3, 5, 4, 7, 6, 9, 8, *range(10, 19),
    ]


def test_later_parts_lie_over_earlier_ones():
    everything = {name: np.ones((3, 3), bool) for name in LABELS[1:]}
    assert (paint_parts(everything) == 18).all()
    del everything["cloth"]
    assert (paint_parts(dict(reversed(everything.items()))) == 17).all()


def test_parts_that_do_not_fit():
    with pytest.raises(ValueError, match="one size"):
        paint_parts({"skin": np.ones((3, 3), bool), "nose": np.ones((2, 3), bool)})
    with pytest.raises(ValueError, match="beard"):
        paint_parts({"beard": np.ones((3, 3), bool)})
    with pytest.raises(ValueError, match="no part"):
        paint_parts({})


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P", "RGBA", "LA", "I;16"])
def test_a_part_in_any_mode(mode):
    mask = MAPS[0] == 1
    image = (
        Image.fromarray((mask * 65535).astype(np.uint16))
        if mode == "I;16"
        else Image.fromarray((mask * 255).astype(np.uint8)).convert(mode)
    )
    assert np.array_equal(part_mask(image), mask)


def test_a_part_is_where_any_channel_is_bright():
    image = np.zeros((1, 4, 3), np.uint8)
    image[0, 1], image[0, 2], image[0, 3] = (0, 0, 200), (127, 127, 127), (128, 0, 0)
    assert part_mask(Image.fromarray(image)).tolist() == [[False, True, False, True]]


@pytest.mark.parametrize("palette", list(PALETTES))
@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255)])
def test_colors(palette, background):
    colors = np.array(PALETTES[palette], np.uint8)
    colors[0] = background
    assert len({tuple(c) for c in colors.tolist()}) == 19
    for m in MAPS:
        assert np.array_equal(from_colors(colors[m]), m)


def test_every_way_to_save_a_map(tmp_path):
    m = MAPS[0]
    colors = np.array(PALETTES["CelebAMask-HQ"], np.uint8)[m]
    indexed = Image.fromarray(m).convert("P")
    indexed.putpalette(sum(PALETTES["CelebAMask-HQ"], ()))
    grey_palette = Image.fromarray(m).convert("P")
    for k, image in enumerate(
        (
            Image.fromarray(m), indexed, grey_palette, Image.fromarray(colors),
            Image.fromarray(colors).quantize(19, dither=0), Image.fromarray(np.stack([m] * 3, -1)),
            Image.fromarray(m.astype(np.uint16)), Image.fromarray(colors).convert("RGBA"),
        )
    ):
        image.save(tmp_path / f"{k}.png")
        assert np.array_equal(read_numbers(tmp_path / f"{k}.png"), m), k


def test_what_is_refused(tmp_path):
    Image.fromarray(np.array(PALETTES["CelebAMask-HQ"], np.uint8)[MAPS[0]]).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="JPEG"):
        read_numbers(tmp_path / "a.jpg")
    Image.fromarray(MAPS[0] * 10).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="0 to 18"):
        read_numbers(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match="c.png"):
        read_numbers(tmp_path / "c.png")
    with pytest.raises(FileNotFoundError, match="d.png"):
        read_numbers(tmp_path / "d.png")


@pytest.mark.parametrize("count", [1, 6])
def test_the_detector(count):
    maps = MAPS[:count]
    assert check_order(maps, "official")["official"] > 0.9
    with pytest.raises(ValueError, match="Say order 'second'"):
        check_order([to_order(m, "second") for m in maps], "official")
    with pytest.raises(ValueError, match="Say order 'official'"):
        check_order(maps, "second")
    check_order([to_order(m, "second") for m in maps], "second")
    with pytest.raises(ValueError, match="upside down"):
        check_order([m[::-1] for m in maps], "official")


def test_the_detector_sees_exchanged_sides():
    with pytest.raises(ValueError, match="exchanged in 6 of 6"):
        check_order([swap_sides(m) for m in MAPS], "official")
    check_order([swap_sides(MAPS[0]), *MAPS[1:]], "official")  # a few are as the real data are


def test_the_detector_says_nothing_of_nothing():
    assert np.isnan(check_order([np.zeros((8, 8), np.uint8)], "official")["official"])
    assert np.isnan(order_scores([])["official"])


def test_a_few_strange_maps_do_not_matter():
    check_order(MAPS + [np.random.default_rng(0).integers(0, 19, (64, 64)).astype(np.uint8)], "official")


def test_relations_name_classes():
    assert {n for a, _, b in label_maps.RELATIONS for n in (a, b)} <= set(LABELS)
