"""Drawn faces: people who do not exist, with every muscle, label and landmark known."""
from .drawing import PIXELS, REACH, VERSION, FaceSample, draw, reach, render
from .frame import FRAME
from .identity import NAMES, RANGES, Identity, groups, mirror, repeat, replace, sample_identities
from .painter import LABELS

__all__ = [
    "FRAME", "LABELS", "NAMES", "PIXELS", "RANGES", "REACH", "VERSION", "FaceSample", "Identity", "draw", "groups",
    "mirror", "reach", "render", "repeat", "replace", "sample_identities",
]
