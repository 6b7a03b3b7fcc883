"""What the tests of photographs share: a wish, and how far two frames lie apart."""
import math

import numpy as np
import torch
from hypothesis import strategies as st

from expr_course.data.crops import Crop

WISH = {"AU12": 0.9, "AU06": 0.5, "AU25": 0.4}


def frame_error(frame, true):
    """Centre and size in half sides, tilt in degrees."""
    tilt = math.atan2(frame.sin * true.cos - frame.cos * true.sin, frame.cos * true.cos + frame.sin * true.sin)
    centre = math.hypot(frame.x - true.x, frame.y - true.y) / true.half
    return centre, abs(math.log(frame.half / true.half)), abs(math.degrees(tilt))


def equal(a, b):
    """The same kind, the same numbers."""
    if isinstance(a, torch.Tensor): return a.dtype == b.dtype and torch.equal(a, b)
    a_, b_ = np.asarray(a), np.asarray(b)
    return type(a) is type(b) and a_.dtype == b_.dtype and np.array_equal(a_, b_)


def crop_at(x, y, half, turn):
    return Crop(x, y, half, math.cos(turn), math.sin(turn))


some_frames = st.builds(crop_at, st.floats(-20, 120), st.floats(-20, 120), st.floats(9, 80), st.floats(-3.1, 3.1))
