"""What stands behind a person: studio walls, rooms out of focus, lights at night"""

import torch
from torch import Tensor

from .geometry import smooth
from .painter import Canvas, hsv, rgb
from .scene import Scene, everywhere


def _sideways(s: Scene) -> Tensor:
    "x of the picture towards the lamp's side, -1 to 1: in a mirror the background is mirrored too"
    return s.x * torch.sign(s.p.light_x)

def studio(s: Scene) -> Tensor:
    "A wall, from white over grey to black, lighter on one side; N×3×H×W"
    p = s.p
    wall = hsv(p.back_hue, 0.30 * p.back_busy ** 2, torch.where(p.back_dark > 0.6, 0.4 + 0.95 * p.back_dark, 0.02 + 1.1 * p.back_dark))
    fall = 1 + 0.25 * (p.back_hue2 - 0.2) * _sideways(s) + 0.15 * (p.back_busy - 0.5) * s.y
    return wall * fall[:, None]

def _two(p) -> tuple[Tensor, Tensor]:
    "A dark and a light colour, N×3×1×1"
    low = 0.03 + 0.40 * p.back_dark * p.back_hue2
    return hsv(p.back_hue, 0.55 * p.back_busy, low), hsv(p.back_hue2, 0.40 * p.back_dark * p.back_hue, low + (1.05 - low) * (0.35 + 0.65 * p.back_hue))

def room(s: Scene) -> Tensor:
    "Things out of focus: a dark colour and a light one, and a third, in large soft patches, some with harder edges; N×3×H×W"
    p, t = s.p, s.texture
    one, two = _two(p)
    keen = 1.5 + 2.0 * p.back_busy ** 3
    image = torch.lerp(one, two, smooth(0.2 + 0.6 * p.back_dark + keen * (0.9 * t.back + 0.25 * t.glow))[:, None])
    third = hsv(0.6 * p.back_hue + 0.4 * p.back_hue2, 0.45, 0.25 + 0.7 * p.back_busy)
    return torch.lerp(image, third, 0.85 * smooth(3 * (t.glow - 0.10) * keen)[:, None]) * (1 + 0.5 * t.back)[:, None]

def boards(s: Scene) -> Tensor:
    "Upright panels and a level edge, soft: doors, shelves, posters, windows out of focus; N×3×H×W"
    p, t, x = s.p, s.texture, _sideways(s)
    keen = 2 + 12 * p.back_busy ** 2
    panel = 0.5 + 0.5 * torch.tanh(keen * torch.sin((2 + 5 * p.back_dark) * x + 6.28 * p.back_hue2 + 0.5 * torch.sin(7 * x)))
    ledge = smooth(0.5 + keen * (s.y + 1.2 * p.back_hue - 0.4) + 0.5 * torch.sin(3 * x + 20 * p.back_hue2))
    one, two = _two(p)
    image = torch.lerp(one, two, panel[:, None])
    return torch.lerp(image, image.flip(1) * 0.55 + 0.1 * p.back_busy[:, None], ledge[:, None]) * (1 + 0.3 * t.back)[:, None]

def lights(s: Scene) -> Tensor:
    "Night, and lamps far behind it as discs of light; N×3×H×W"
    p, t = s.p, s.texture
    dark = hsv(p.back_hue, 0.5, 0.02 + 0.18 * p.back_dark) * (1 + t.glow)[:, None]
    n = 2.5 + 3 * p.back_busy
    gx, gy = n * _sideways(s) + p.back_hue, n * s.y + p.back_hue2
    jx, jy = torch.floor(gx), torch.floor(gy)
    luck = torch.sin(12.9 * jx + 78.2 * jy + 40 * p.back_hue) * 43.7
    luck = luck - luck.floor()
    off = ((gx - jx - 0.5 + 0.35 * torch.sin(37 * luck)) ** 2 + (gy - jy - 0.5 + 0.35 * torch.sin(91 * luck)) ** 2).sqrt()
    disc = smooth((0.06 + 0.13 * torch.sin(55 * luck).abs() - off) / 0.05) * (luck > 0.5)
    return dark + hsv(p.back_hue2 + 0.15 * luck, 0.6 * (luck - 0.4), luck) * disc[:, None]

KINDS = ((studio, 0.0, 0.30), (room, 0.30, 0.65), (boards, 0.65, 0.90), (lights, 0.90, 2.0))     # and the share of `back_kind` that is theirs

@everywhere
def background(c: Canvas, s: Scene) -> None:
    "One of `KINDS` behind each person"
    kind = s.p.back_kind.flatten()
    for draw, low, high in KINDS:
        who = ((kind >= low) & (kind < high)).nonzero()[:, 0]
        if len(who): c.image[who] = draw(s.cut_people(who)).clamp(0, 1.6)
