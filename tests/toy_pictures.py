"""Soft pictures for the tests of the editor, and one file that means harm."""
import struct
import zlib

import numpy as np
import torch
from PIL import Image


def smooth(size=(64, 64), seed=0):
    """A soft picture 3×H×W in [-1, 1]: an edit of noise would be noise."""
    noise = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    soft = torch.nn.functional.interpolate(noise, size, mode="bicubic", align_corners=False)
    return (soft[0].clamp(0, 1) * 2 - 1).contiguous()


def image(size=(64, 64), mode="RGB"):
    """The same as a PIL image; size: height, width."""
    pixels = ((smooth(size).permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def huge_png(side=60_000):
    """A few bytes that say they are a picture of side × side pixels."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
