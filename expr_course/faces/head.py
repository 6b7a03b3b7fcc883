"""The skin of face and neck"""

from .geometry import bump, smooth
from .painter import NECK, SKIN, Canvas, coverage, rgb
from .scene import Scene, within

import torch
from torch import Tensor


def neck_half(s: Scene) -> Tensor:
    "Half width of the neck, N×H×W; it widens towards the shoulders"
    return s.p.face_width * s.p.neck_width + 0.05 * smooth((s.v - 0.85) / 0.3)

@within(lambda p: (0.44, 9, 0.63))
def neck(c: Canvas, s: Scene) -> None:
    "The neck, round and shaded by the chin, whose shadow falls with the jaw (AU26)"
    p, U, v, half = s.p, s.U, s.v, neck_half(s)
    shadow = 0.55 + 0.35 * smooth((v - p.chin_y - 0.10 * s.a.AU26 - 0.02 + 0.25 * U * U) / 0.22)
    c.paint(coverage(torch.maximum(U - half, 0.45 - v)), s.skin * (shadow * (1 - 0.35 * (U / half) ** 2) * p.exposure)[:, None], NECK)

@within(lambda p: (-0.24, 0.40, 0.64))
def redness(s: Scene) -> Tensor:
    "N×H×W: how much red there is more than usual: cheeks, tip of the nose, freckles"
    p, U, v = s.p, s.U, s.v
    red = 0.10 * p.blush * bump(U, v, 0.36, 0.15, 0.26, 0.22) + 0.06 * bump(U, v, 0.0, p.eye_y + p.nose_length - 0.03, 0.16, 0.12)
    return red + 0.5 * p.freckles.clamp(min=0) * (s.texture.skin - 0.30).clamp(min=0) * bump(U, v, 0.15, 0.08, 0.40, 0.30)

@within(lambda p: (p.eye_y, p.eye_y + 0.15, p.eye_x + 0.15))
def bags(s: Scene) -> Tensor:
    "N×H×W: shadows under the eyes, deeper with age"
    return (0.10 + 0.14 * s.p.age) * bump(s.U, s.v, s.p.eye_x - 0.02, s.p.eye_y + 0.075, 0.14, 0.055)

@within(lambda p: (p.skull_top - 0.03, p.chin_y + 0.13, p.face_width + 0.02))
def skin(c: Canvas, s: Scene) -> None:
    "The head: complexion in this light, with its furrows and highlights"
    mottled = (1 + (0.07 + 0.06 * s.p.age) * s.texture.skin) * (1 - s.local("bags", bags))
    tone = s.skin * mottled[:, None] * (1 - s.local("redness", redness)[:, None] * rgb(0.15, 1.0, 0.9, s.u))
    creased = 1 - 0.36 * s.furrow.clamp(max=1.25)[:, None] * rgb(0.80, 1.0, 1.0, s.u)
    c.paint(s.face, tone * s.light[:, None] * creased + 0.10 * s.shine[:, None], SKIN)

