"""Faces found and refused, with reasons; boxes by hand."""
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from toy_photos import WISH, frame_error

from expr_course.data.crops import Crop, crop_of_box, cut
from expr_course.photos import find as finder
from expr_course.photos.find import (LEAST_SIDE, Found, boxes, change, examine_face, find_faces, frame_from_box,
                                     guesses, joined, own_parser, pick, reason, same, score_of, search)
from expr_course.photos.paste import edit_photo
from expr_course.photos.places import plaster, portrait_wall


def test_every_portrait_of_a_wall_is_found():
    photo, truth = portrait_wall(size=128)
    found = find_faces(photo)
    assert len(found) == 4 and [f.frame.half for f in found] == sorted((f.frame.half for f in found), reverse=True)
    for face, true in zip(found, sorted(truth, key=lambda frame: -frame.half)):
        centre, size, tilt = frame_error(face.frame, true)
        assert centre < 0.06 and size < 0.12 and tilt < 3, face
        assert face.score > 0.45 and "pixels" in str(face)


def test_the_same_face_in_every_kind_of_picture(pixels, snapshot, face, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for picture in (Image.fromarray(pixels), tmp_path / "a.png", pixels.astype(np.uint16) * 257):
        (found,) = find_faces(picture)
        assert frame_error(found.frame, snapshot[1])[0] < 0.06 and change(found.frame, face.frame) < 0.02


def test_a_box_that_was_found_can_be_given_back(snapshot, face):
    centre, size, tilt = frame_error(frame_from_box(snapshot[0], face.box).frame, snapshot[1])
    assert centre < 0.06 and size < 0.12 and tilt < 3
    upright = Found(Crop(100.0, 90.0, 40.0))
    assert change(crop_of_box(*upright.box), upright.frame) < 0.05


def test_a_box_by_hand(snapshot, face):
    photo, true = snapshot
    # brows to chin; the head; the frame
    for left, top, right, bottom in ((0.6, 0.45, 0.6, 0.85), (0.8, 1.0, 0.8, 0.95), (1, 1, 1, 1)):
        sides = np.array([-left, -top, left + right, top + bottom]) * true.half
        found = frame_from_box(photo, sides + (true.x, true.y, 0, 0))
        assert found.score > 0.45 and frame_error(found.frame, true)[0] < 0.08
    plain = frame_from_box(photo, (5, 5, 40, 40))
    assert plain.score == 0 and plain.frame == crop_of_box(5, 5, 40, 40)
    assert frame_from_box(photo, face.box, refine=False).score == 0


BAD_BOXES = {
    "four numbers": [(1, 2, 3), "here", None, (1, 2, 3, "x")],
    "too small": [(10, 10, 5, 50), (10, 10, float("nan"), 50)],
    "does not lie": [(400, 10, 50, 50), (-90, 10, 50, 50), (0, 0, 9000, 50)],
}


@pytest.mark.parametrize("box, message", [(box, message) for message, some in BAD_BOXES.items() for box in some])
def test_bad_boxes(snapshot, box, message):
    with pytest.raises((ValueError, TypeError), match=message):
        frame_from_box(snapshot[0], box)


def test_nothing_to_find():
    tiny, narrow = torch.ones(3, 1, 1), torch.zeros(3, 2, 300)
    for picture in (plaster(120, 160), torch.zeros(3, 90, 70), torch.rand(3, 64, 64), tiny, narrow):
        found, refused = search(picture)
        assert found == []
        with pytest.raises(ValueError, match="no face was found.*box"):
            pick(found, 0, refused)


def test_half_a_face_and_a_tiny_one_are_refused_with_a_reason(snapshot):
    photo, true = snapshot
    hidden = photo.clone()
    hidden[:, :, int(true.x):] = 0.2
    with pytest.raises(ValueError, match="eye|nose|mouth|no face"):
        examine_face(hidden, true, own_parser())
    small, (frame,) = portrait_wall(((1006, 60, 60, LEAST_SIDE - 12, 0),), 120, 120)
    with pytest.raises(ValueError, match=f"pixels a side, and {LEAST_SIDE}|no face|made out"):
        examine_face(small, frame, own_parser())
    edge = photo[:, :, int(true.x):].contiguous()
    with pytest.raises(ValueError):
        examine_face(edge, Crop(0, true.y, true.half, true.cos, true.sin), own_parser())


def test_reasons():
    parts = ("left eye", "right eye", "left brow", "right brow", "nose", "mouth", "face")
    sure = dict.fromkeys(parts, 0.9) | {"left glass": 0.0, "right glass": 0.0}
    # closed, with a brow
    assert score_of(sure) == pytest.approx(0.81) and score_of(sure | {"left eye": 0.0}) == pytest.approx(0.81)
    assert score_of(sure | {"left eye": 0.0, "left brow": 0.0, "left glass": 0.9}) == pytest.approx(0.81)
    assert "one eye" in reason(sure | {"left eye": 0.0, "left brow": 0.1}) and "mouth" in reason(sure | {"mouth": 0.1})
    assert reason(sure | {"face": 0.2}) == "no face" and score_of(sure | {"face": 0.0}) == 0


def test_picking():
    found = [Found(Crop(0, 0, 10.0)), Found(Crop(50, 0, 5.0))]
    assert pick(found) is found[0] and pick(found, 1) is found[1]
    for wrong in (2, -1, "all", 1.0, True, None):
        with pytest.raises(ValueError, match="of the 2"):
            pick(found, wrong)


def test_a_face_that_is_found_twice_counts_once():
    one, other, again = Found(Crop(0, 0, 10.0), 0.6), Found(Crop(50, 0, 5.0), 0.5), Found(Crop(2, 0, 9.0), 0.7)
    assert not same(one, other) and same(one, again)
    assert joined([one, other], again) == [other, again] and joined([again, other], one) == [again, other]


def test_tilted_pictures_are_turned(snapshot):
    turned = cut(snapshot[0], Crop(159.5, 129.5, 130.0, math.cos(-0.3), math.sin(-0.3)), 260)
    assert any(abs(math.atan2(f.frame.sin, f.frame.cos)) > 0.3 for f in find_faces(turned))


def test_without_scikit_image(monkeypatch, editor, snapshot, face):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    finder.cascade.cache_clear()
    try:
        with pytest.raises(ImportError, match="scikit-image.*box"):
            find_faces(snapshot[0])
        assert edit_photo(editor, snapshot[0], WISH, box=face.box).shape == snapshot[0].shape
    finally:
        finder.cascade.cache_clear()


def test_a_face_of_a_few_pixels_is_no_crash(snapshot):
    for side in (9, 16, 24):
        small = torch.nn.functional.interpolate(snapshot[0][None], (side, side), mode="area")[0]
        assert find_faces(small) == []


def test_guesses_ignore_mirror_images():
    assert guesses(torch.zeros(3, 30, 200), 200) == [] and boxes(np.zeros((50, 50), np.uint8)) == []
