"""What stands behind a person"""

from .painter import Canvas, hsv
from .scene import Scene, everywhere

import torch


@everywhere
def background(c: Canvas, s: Scene) -> None:
    "Two hues, mixed from top to bottom and by a texture"
    p, t = s.p, s.texture
    one, two = hsv(p.back_hue, 0.35, 0.25 + 0.65 * p.back_dark), hsv(p.back_hue2, 0.3, 0.85 - 0.6 * p.back_dark)
    mix = (0.5 + 0.25 * s.y + (0.3 + 1.2 * p.back_busy) * t.back).clamp(0, 1)
    c.image = torch.lerp(one, two, mix[:, None]) * (1 + 0.5 * p.back_busy * t.glow)[:, None]

