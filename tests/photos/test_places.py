"""There and back between a picture and a frame, and the wall of portraits."""
import math

import numpy as np
import torch
from hypothesis import given, settings, strategies as st
from toy_photos import some_frames

from expr_course.data.crops import Crop, cut, move_points
from expr_course.photos.paste import added
from expr_course.photos.places import corners, frame_within, pixels_in, portrait_wall, to_picture


@given(some_frames, st.integers(8, 300), st.integers(0, 99))
def test_points_there_and_back(frame, size, seed):
    points = np.random.default_rng(seed).uniform(-50, 200, (20, 2))
    assert np.abs(to_picture(move_points(points, frame, size), frame, size) - points).max() < 1e-6
    last = size - 0.5
    ends = [(-0.5, -0.5), (last, -0.5), (last, last), (-0.5, last)]
    assert np.allclose(corners(frame), to_picture(ends, frame, size))


@given(some_frames, st.integers(8, 200))
def test_a_frame_within_a_frame(frame, size):
    inner = Crop(size * 0.4, size * 0.6, size * 0.2, math.cos(0.3), math.sin(0.3))
    assert np.allclose(to_picture(corners(inner), frame, size), corners(frame_within(inner, frame, size)), atol=1e-6)


@given(some_frames, st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.integers(1, 40))
def test_every_pixel_knows_its_place_in_the_frame(frame, left, top, width, height):
    grid = pixels_in(frame, left, top, left + width, top + height)
    assert grid.shape == (height, width, 2) and grid.dtype == torch.float32
    one = move_points([(left + width - 1, top)], frame, 2)[0] - 0.5
    assert np.allclose(grid[0, -1], one, atol=1e-5)


def test_no_pixels_are_no_grid():
    assert pixels_in(Crop(5.0, 5.0, 5.0), 3, 3, 3, 9).shape == (6, 0, 2)


@settings(max_examples=10)
@given(st.floats(40, 60), st.floats(40, 60), st.floats(-0.6, 0.6), st.floats(20, 34))
def test_a_spot_goes_into_the_crop_and_back_within_a_tenth_of_a_pixel(x, y, turn, half):
    line = torch.arange(100.0)
    spot = torch.exp(-((line - x) ** 2 + (line[:, None] - y) ** 2) / 32).expand(3, -1, -1)
    frame = Crop(50.0, 50.0, half, math.cos(turn), math.sin(turn))
    seen = cut(spot, frame, 64)
    def centre(t, n):
        line, mass = torch.arange(float(n)), t[0] / t[0].sum()
        return [float((mass * line).sum()), float((mass * line[:, None]).sum())]
    if abs(move_points([(x, y)], frame, 64) - 31.5).max() > 12: return     # too near the border to weigh
    assert np.abs(to_picture([centre(seen, 64)], frame, 64)[0] - (x, y)).max() < 0.1
    back = added(torch.zeros(3, 100, 100), seen.clamp(0, 1), frame)
    assert np.abs(np.array(centre(back, 100)) - (x, y)).max() < 0.1


def test_a_wall_is_drawn_again_to_the_bit_and_knows_its_faces():
    one, two = (portrait_wall(((1006, 60, 60, 70, 8),), 120, 140, size=64) for _ in range(2))
    assert torch.equal(one[0], two[0]) and one[1] == two[1] and one[0].shape == (3, 120, 140)
    assert -1 <= one[0].min() and one[0].max() <= 1
    (frame,) = one[1]
    assert abs(frame.x - 60) < 10 and abs(frame.y - 60) < 10 and 20 < frame.half < 40 and frame.sin > 0
