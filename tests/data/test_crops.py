"""Crops: the frame of drawn faces found again, pixels averaged, labels voted, points moved exactly."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from layouts import drawn

from expr_course.data.crops import (Crop, Face, check_landmarks, crop_of_box, crop_of_labels, crop_of_landmarks,
                                    crop_of_picture, cut, cut_labels, eyes_of, face_in_frame, frame_crop, mouth_of,
                                    move_points, outside)

PICTURES, LABELS, POINTS, _ = drawn(6, 64)
IMAGES = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize("find, data", [(crop_of_landmarks, POINTS), (crop_of_labels, LABELS)])
def test_drawn_faces_are_in_the_frame_already(find, data):
    crops = [find(d) for d in data]
    gap = np.abs([(c.x - 31.5, c.y - 31.5, c.half - 32) for c in crops])
    assert gap.max() < 6 and gap.mean() < 1.6, "within the shift and zoom that drawn people have"
    assert max(abs(c.sin) for c in crops) < np.sin(np.radians(21)), "and their roll"


@given(st.floats(-3, 3), st.floats(0.3, 4), st.floats(-500, 500), st.floats(-500, 500))
def test_the_frame_goes_with_the_face(angle, scale, dx, dy):
    """Turn, enlarge and move a face: its crop shows the same thing."""
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    a, b = crop_of_landmarks(POINTS[0]), crop_of_landmarks(POINTS[0] @ turn * scale + (dx, dy))
    assert b.half == pytest.approx(a.half * scale, rel=1e-6)
    assert np.allclose(
        move_points(POINTS[0], a, 64), move_points(POINTS[0] @ turn * scale + (dx, dy), b, 64), atol=1e-4
    )


def test_a_crop_of_everything_is_the_picture():
    assert torch.allclose(cut(IMAGES[0], crop_of_picture(64, 64), 64), IMAGES[0], atol=1e-5)
    assert np.array_equal(cut_labels(LABELS[0], crop_of_picture(64, 64), 64), LABELS[0])
    assert np.allclose(move_points(POINTS[0], crop_of_picture(64, 64), 64), POINTS[0])


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_quarter_turns(angle):
    crop = Crop(31.5, 31.5, 32.0, math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    turned = np.rot90(LABELS[0], angle // 90)
    assert np.array_equal(cut_labels(LABELS[0], crop, 64), turned)
    assert torch.allclose(cut(IMAGES[0], crop, 64), torch.rot90(IMAGES[0], angle // 90, (1, 2)), atol=1e-4)


def test_points_and_pixels_agree():
    image, crop = torch.full((3, 90, 70), -1.0), Crop(33.3, 51.7, 21.0, math.cos(0.4), math.sin(0.4))
    image[:, 48:51, 38:41] = 1
    x, y = move_points(np.array([[39.0, 49.0]]), crop, 64)[0]
    shown = (cut(image, crop, 64)[0] + 1).numpy()
    rows, columns = np.mgrid[:64, :64]
    assert abs((columns * shown).sum() / shown.sum() - x) < 0.1 and abs((rows * shown).sum() / shown.sum() - y) < 0.1


def test_shrinking_averages_and_votes():
    board = torch.tensor(np.indices((512, 512)).sum(0) % 2 * 2.0 - 1).expand(3, -1, -1)
    assert cut(board.float(), crop_of_picture(512, 512), 32).abs().max() < 0.02, "a fine chequerboard is grey"
    labels = np.zeros((64, 64), np.uint8)
    labels[:, ::4] = 7
    assert (cut_labels(labels, crop_of_picture(64, 64), 16) == 0).all()


def test_what_lies_outside_is_mirrored():
    crop = Crop(31.5, 31.5, 48)
    image, labels = cut(IMAGES[0], crop, 96), cut_labels(LABELS[0], crop, 96)
    assert torch.allclose(image[:, 16:80, 16:80], IMAGES[0], atol=1e-4) and np.array_equal(
        labels[16:80, 16:80], LABELS[0]
    )
    assert np.array_equal(labels[:16], labels[17:33][::-1]) and torch.allclose(
        image[:, :16], image[:, 17:33].flip(1), atol=1e-4
    )
    assert outside(crop, 64, 64) == pytest.approx(1 - (64 / 96) ** 2, abs=0.05)
    assert outside(crop_of_picture(64, 64), 64, 64) == 0


def test_a_face_comes_into_the_frame_at_once():
    crop = crop_of_landmarks(POINTS[0])
    image, labels, points = face_in_frame(Face(IMAGES[0], crop, LABELS[0], POINTS[0]), 32)
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8
    assert np.array_equal(labels, cut_labels(LABELS[0], crop, 32))
    assert np.allclose(points, move_points(POINTS[0], crop, 32))
    assert face_in_frame(Face(IMAGES[0], crop), 32)[1:] == (None, None)


@pytest.mark.parametrize("crop, labels, says", [
    (Crop(32, 32, 8), None, "16 pixels"), (Crop(-30, -30, 32), None, "outside of the picture"),
    (Crop(32, 32, 32), LABELS[0][::2], "labels are")])
def test_a_face_that_cannot_be_used(crop, labels, says):
    with pytest.raises(ValueError, match=says):
        face_in_frame(Face(IMAGES[0], crop, labels), 32)


def test_labels_may_name_sides_either_way():
    swapped = LABELS[0].copy()
    swapped[LABELS[0] == 4], swapped[LABELS[0] == 5] = 5, 4
    assert crop_of_labels(swapped) == crop_of_labels(LABELS[0])


def test_glasses_stand_in_for_eyes():
    hidden = LABELS[0].copy()
    y, x = np.nonzero(np.isin(hidden, (4, 5)))
    hidden[y.min() - 1:y.max() + 2, x.min() - 1:x.max() + 2] = 3
    a, b = crop_of_labels(hidden), crop_of_labels(LABELS[0])
    assert abs(a.x - b.x) < 2 and abs(a.y - b.y) < 2


@pytest.mark.parametrize("remove, says", [((3, 4, 5), "neither both eyes nor glasses"), ((10, 11, 12), "no mouth")])
def test_labels_that_cannot_tell(remove, says):
    with pytest.raises(ValueError, match=says):
        crop_of_labels(np.where(np.isin(LABELS[0], remove), 1, LABELS[0]).astype(np.uint8))


def test_one_pixel_of_glasses():
    labels = np.ones((16, 16), np.uint8)
    labels[4, 4], labels[10, 5] = 3, 11
    with pytest.raises(ValueError, match="one pixel"):
        crop_of_labels(labels)


@pytest.mark.parametrize("eyes, mouth", [
    ([[0, 0], [0, 0]], [0, 9]), ([[0, 0], [np.nan, 0]], [0, 9]), ([[0, 0], [1e9, 0]], [0, 9]),
    ([[0, 0], [20, 0]], [10, -20]), ([[0, 0], [20, 0]], [10, 200]), ([[0, 0], [20, 0]], [90, 20]),
    ([[20, 0], [0, 0]], [10, 20])])
def test_points_that_are_no_face(eyes, mouth):
    with pytest.raises(ValueError):
        frame_crop(np.array(eyes, float), np.array(mouth, float))


def test_landmarks_that_are_no_face(cases):
    rng = np.random.default_rng(0)
    for p in POINTS:
        check_landmarks(p)
    wrong = (
        [rng.uniform(0, 64, (68, 2)) for _ in range(cases(30, 2000))]
        + [p[:, ::-1] for p in POINTS]
        + [p[::-1] for p in POINTS]
        + [p * (1, -1) for p in POINTS]
    )
    # one damaged number
    wrong += [np.where(np.arange(68)[:, None] == k, p + rng.choice([-60, 60], 2), p) for p in POINTS for k in range(68)]
    wrong += [
        np.zeros((68, 2)), POINTS[0] * np.nan, POINTS[0] * 1e9, POINTS[0][:67], POINTS[0].reshape(-1).reshape(2, 68).T,
    ]
    for k, p in enumerate(wrong):
        with pytest.raises(ValueError, match="landmarks|eyes"):
            check_landmarks(p)
            pytest.fail(f"number {k} passed")


def test_boxes():
    low, high = POINTS[0].min(0), POINTS[0].max(0)
    a, b = crop_of_box(*low, *(high - low)), crop_of_landmarks(POINTS[0])
    assert abs(a.x - b.x) < 4 and abs(a.y - b.y) < 6 and a.half == pytest.approx(b.half, rel=0.25)
    for box in ((0, 0, 0, 0), (0, 0, np.nan, 5), (0, 0, 10, -10)):
        with pytest.raises(ValueError):
            crop_of_box(*box)


def test_order_of_eyes():
    assert (
        eyes_of(POINTS[0])[0, 0] < eyes_of(POINTS[0])[1, 0] and mouth_of(POINTS[0])[1] > eyes_of(POINTS[0])[:, 1].max()
    )
