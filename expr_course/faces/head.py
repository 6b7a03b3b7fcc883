"""The skin of face and neck"""

from .geometry import bump, smooth
from .painter import NECK, SKIN, Canvas, coverage, rgb
from .relief import lamp
from .scene import Scene, within

import torch
from torch import Tensor


def neck_half(s: Scene) -> Tensor:
    "Half width of the neck at body coordinates, N×H×W; it widens towards the shoulders"
    return s.p.face_width * s.p.neck_width * 0.93 + 0.16 * (s.v - 0.75).clamp(min=0) ** 2 + 0.03 * smooth((s.v - 0.85) / 0.3)

@within(lambda p: (0.20, 9, 0.80), body=True)
def neck(c: Canvas, s: Scene) -> None:
    "The neck, a shaded column under the head, whose shadow falls with the jaw (AU26)"
    p, U, v, half = s.p, s.U, s.v, neck_half(s)
    x, _ = lamp(p)
    bend = (s.u / half).clamp(-1, 1)
    round_ = ((1 - bend * bend).clamp(min=0.02).sqrt() + 0.6 * bend * x) * (1 + x * x).rsqrt()
    light = 0.10 + p.ambient * 0.80 + (1.05 - p.ambient) * ((round_ + 0.10) / 1.10).clamp(min=0)
    x_head, y_head = s.cut(s.whole.u).abs(), s.cut(s.whole.v)
    chin = p.chin_y + 0.02 + 0.10 * s.cut(s.whole.a.AU26) * smooth((0.90 - x_head) / 0.25)
    shadow = 0.60 + 0.42 * smooth((y_head - chin + 0.25 * U * U) / 0.30)
    c.paint(coverage(torch.maximum(U - half, 0.30 + 0.9 * (U - 0.30).clamp(min=0) - v)), lit(s.skin, light * shadow * p.exposure), NECK)

@within(lambda p: (p.eye_y - 0.20, p.chin_y + 0.02, 0.64))
def redness(s: Scene) -> Tensor:
    "N×H×W: how much redder than elsewhere the skin is: cheeks, nose, lids, chin, and blotches of one's own"
    p, U, v = s.p, s.U, s.v
    red = (0.05 + 0.15 * p.blush) * bump(U, v, 0.34, 0.13, 0.28, 0.25) + 0.10 * bump(U, v, 0.0, p.eye_y + p.nose_length - 0.06, 0.20, 0.17)
    red = red + 0.08 * bump(U, v, p.eye_x, p.eye_y - 0.03, 0.18, 0.12) + 0.06 * bump(U, v, 0.0, p.chin_y - 0.10, 0.20, 0.14)
    return red * (0.75 + 0.9 * s.texture.skin)

@within(lambda p: (-0.30, 0.45, 0.62), worn=lambda p: p.freckles > 0)
def freckles(s: Scene) -> Tensor:
    "N×H×W: small darker spots across nose and cheeks"
    return s.p.freckles * (2.2 * (s.texture.pores - 0.22)).clamp(0, 0.5) * bump(s.U, s.v, 0.12, 0.06, 0.46, 0.36)

@within(lambda p: (p.eye_y, p.eye_y + 0.16, p.eye_x + 0.15))
def bags(s: Scene) -> Tensor:
    "N×H×W: shadows under the eyes, deeper with age"
    return (0.06 + 0.12 * s.p.age) * bump(s.U, s.v, s.p.eye_x - 0.03, s.p.eye_y + 0.080, 0.15, 0.070)

def lit(tone: Tensor, light: Tensor) -> Tensor:
    "A tone of skin N×3×H×W in a light N×H×W: what is dark is lit from within, and redder"
    dim = (1 - light).clamp(0, 1)[:, None]
    return tone * light[:, None] * (1 + dim * rgb(0.16, 0.0, -0.07, tone))

@within(lambda p: (p.skull_top - 0.03, p.chin_y + 0.13, p.face_width + 0.02))
def skin(c: Canvas, s: Scene) -> None:
    "The head: complexion in this light, with its furrows and highlights"
    p, t = s.p, s.texture
    mottled = (1 + (0.05 + 0.06 * p.age) * t.skin + (0.03 + 0.07 * p.rough) * t.pores) * (1 - s.local("bags", bags)) * (1 - s.local("freckles", freckles))
    tone = s.skin * mottled[:, None] * (1 - s.local("redness", redness)[:, None] * rgb(0.10, 1.0, 0.85, s.u))
    creased = 1 - 0.26 * s.furrow.clamp(max=1.25)[:, None] * rgb(0.80, 1.0, 1.0, s.u)
    gloss = (0.04 + 0.20 * p.oily) * s.shine * (1 + 0.8 * t.pores) * p.exposure
    c.paint(s.face, lit(tone, s.light) * creased + gloss[:, None], SKIN)
