"""Drawn faces: people who do not exist, with every muscle, label and landmark known."""
from .drawing import (FRAME, LABELS, NAMES, PIXELS, RANGES, REACH, VERSION, FaceSample, Identity, draw, groups, mirror, reach, render, repeat,
                      replace, sample_identities)

__all__ = ["FRAME", "LABELS", "NAMES", "PIXELS", "RANGES", "REACH", "VERSION", "FaceSample", "Identity", "draw", "groups", "mirror", "reach",
           "render", "repeat", "replace", "sample_identities"]
