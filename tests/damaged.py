"""Files that go wrong: real pictures of every kind, damaged by a seeded hand, and some that were made to do harm."""
import random
import struct
import zlib

import numpy as np
from PIL import Image, features
from toy_editor import stored

WIDTH, HEIGHT = 89, 67  # odd, so that the fields that declare them can be recognised
ABSURD = (0, 1, 4_000, 40_000, 65_535, 2**31 - 1, 2**32 - 1)
TEXTS = (
    b"milk, bread", b"<!DOCTYPE html><html><body>404</body></html>",
    b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b'{"AU12": 0.8}', b"%PDF-1.7",
    "Grüße".encode("utf-16"),
)


def originals(image):
    """ending or kind -> bytes: an RGB image, WIDTH×HEIGHT, stored in every way that the course reads."""
    assert image.size == (WIDTH, HEIGHT)
    grey, turned = np.asarray(image.convert("L")), Image.Exif()
    turned[0x0112], turned[0x010F] = 6, "a camera"
    more = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image.convert("L").convert("RGB")]
    files = {
        "plain.png": stored(image), "palette.png": stored(image.quantize(64)), "bits.png": stored(image.convert("1")),
        "alpha.png": stored(image.convert("RGBA")),
        "sixteen.png": stored(Image.fromarray(grey.astype(np.uint16) * 257)),
        "animated.png": stored(image, save_all=True, append_images=more), "plain.jpg": stored(image, "JPEG"),
        "progressive.jpg": stored(image, "JPEG", progressive=True), "cmyk.jpg": stored(image.convert("CMYK"), "JPEG"),
        "turned.jpg": stored(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=turned),
        "animated.gif": stored(image, "GIF", save_all=True, append_images=more), "plain.tif": stored(image, "TIFF"),
        "packed.tif": stored(image, "TIFF", compression="tiff_lzw"),
        "float.tif": stored(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "pages.tif": stored(image, "TIFF", save_all=True, append_images=more), "plain.bmp": stored(image, "BMP"),
        "plain.ppm": stored(image, "PPM"),
    }
    if features.check("webp"):
        files |= {
            "plain.webp": stored(image, "WEBP"),
            "animated.webp": stored(image, "WEBP", save_all=True, append_images=more),
        }
    if features.check("jpg_2000"):
        files["plain.jp2"] = stored(image, "JPEG2000")
    if features.check("avif"):
        files["plain.avif"] = stored(image, "AVIF")
    return files


def declared(data, rng):
    """The file with another width or height in its header, and if it is a PNG with a checksum that agrees."""
    places = [
        (start, form)
        for side in (WIDTH, HEIGHT)
        for form in (">I", "<I", ">H", "<H")
        for start in range(min(len(data), 600) - 4)
        if data.startswith(struct.pack(form, side), start)
    ]
    if not places: return data[:40]
    out, (start, form) = bytearray(data), rng.choice(places)
    out[start:start + struct.calcsize(form)] = struct.pack(form, rng.choice(ABSURD) % 256 ** struct.calcsize(form))
    if data[12:16] == b"IHDR":
        out[29:33] = struct.pack(">I", zlib.crc32(out[12:29]))
    return bytes(out)


def flipped(data, rng, first=0, last=None, count=1):
    out = bytearray(data)
    for _ in range(count):
        out[rng.randrange(first, min(last or len(out), len(out)))] ^= rng.randrange(1, 256)
    return bytes(out)


def overwritten(data, rng):
    start = rng.randrange(len(data))
    length = rng.randrange(1, max(2, len(data) // 3))
    return data[:start] + rng.choice((b"\0", b"\xff"))[:1] * min(length, len(data) - start) + data[start + length:]


def spliced(data, other, rng):
    return data[:rng.randrange(1, len(data))] + other[rng.randrange(len(other)):]


WAYS = {
    "cut": lambda d, o, r: d[: r.randrange(len(d))], "cut-end": lambda d, o, r: d[: -r.randrange(1, 40)],
    "one-byte": lambda d, o, r: flipped(d, r), "bytes": lambda d, o, r: flipped(d, r, count=r.choice((3, 10, 100))),
    "header": lambda d, o, r: flipped(d, r, 0, 64, r.choice((1, 2, 4))), "spliced": spliced,
    "other-header": lambda d, o, r: o[: (k := r.randrange(4, 60))] + d[k:],
    "repeated": lambda d, o, r: d[: (k := r.randrange(1, len(d)))] + d[max(0, k - r.randrange(1, 400)) :],
    "dropped": lambda d, o, r: d[: (k := r.randrange(1, len(d)))] + d[k + r.randrange(1, 200) :],
    "overwritten": lambda d, o, r: overwritten(d, r), "declared": lambda d, o, r: declared(d, r),
    "declared-cut": lambda d, o, r: declared(d, r)[: r.randrange(30, len(d))],
    "longer": lambda d, o, r: d + r.randbytes(r.randrange(1, 500)),
    "noise": lambda d, o, r: d[: r.choice((0, 4, 12))] + r.randbytes(r.randrange(1, 3000)),
    "text": lambda d, o, r: r.choice(TEXTS), "empty": lambda d, o, r: b"", "whole": lambda d, o, r: d,
}


def damaged(files, count, seed=0):
    """count of (name, bytes): every kind in turn, every way in turn; every fourth name has the ending of another
    format."""
    rng, kinds, ways = random.Random(seed), list(files), list(WAYS)
    for k in range(count):
        kind, way, other = kinds[k % len(kinds)], ways[k % len(ways)], rng.choice(kinds)
        ending = (other if k % 4 == 3 else kind).rsplit(".")[1]
        yield f"{k:04}-{way}-{kind.split('.')[0]}.{ending}", WAYS[way](files[kind], files[other], rng)


# --- made to do harm -------------------------------------------------------------------------------------------------

def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width, height, pixels=b"", bits=8, color=2, more=b""):
    """A PNG file put together by hand: header, further chunks, packed pixels."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
        + more
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def packed_zeros(count):
    """So many zero bytes, packed, without holding them."""
    packer, block = zlib.compressobj(9), bytes(2**20)
    return b"".join(
        [packer.compress(block[: min(2**20, count - start)]) for start in range(0, count, 2**20)] + [packer.flush()]
    )


def tiff_of(entries, after=0, body=b""):
    """A little-endian TIFF of one directory at byte 8: entries (tag, type, count, value), what follows it, and bytes
    behind."""
    return (
        b"II*\0"
        + struct.pack("<IH", 8, len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + struct.pack("<I", after)
        + body
    )


def gif_of_frames(count):
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * count + b";"


def harmful(image):
    """name -> bytes that claim, or unpack to, far more than they are."""
    small, lines = stored(image), packed_zeros(9_000 * (1 + 12_000 // 8))
    grey = [
        (256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
        (277, 3, 1, 1), (278, 4, 1, 10), (279, 4, 1, 100),
    ]
    tiled = [
        (256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1),
        (322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 100),
    ]
    jpeg = bytearray(stored(image, "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place:place + 4] = b"\xff\xdc\xff\xdc"
    loop = (
        b"Exif\0\0"
        + b"II*\0"
        + struct.pack("<IH", 8, 2)
        + struct.pack("<HHII", 0x8769, 4, 1, 8)
        + struct.pack("<HHII", 0x0112, 3, 1, 6)
        + struct.pack("<I", 8)
    )
    files = {
        "108-megapixels.png": png_of(12_000, 9_000, lines, 1, 0),
        "claims-3600-megapixels.png": png_of(60_000, 60_000, packed_zeros(100)),
        "claims-20-megapixels.png": png_of(5_000, 4_000, packed_zeros(100)),
        "text-bomb.png": small[:33] + chunk(b"zTXt", b"Comment\0\0" + packed_zeros(2**28)) + small[33:],
        "profile-bomb.png": small[:33] + chunk(b"iCCP", b"p\0\0" + packed_zeros(2**28)) + small[33:],
        "more-pixels-than-it-says.png": png_of(50, 40, packed_zeros(2**28)),
        "strip.png": png_of(1, 100_000, packed_zeros(400_000)), "frames.gif": gif_of_frames(20_000),
        "screen.gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + stored(image, "GIF")[10:],
        "4300-megapixels.jpg": bytes(jpeg), "exif-loop.jpg": stored(image, "JPEG", exif=loop),
        "loop.tif": tiff_of(grey, 8, bytes(100)), "tiles.tif": tiff_of(tiled, 0, zlib.compress(bytes(1000))),
        "far.tif": tiff_of(grey, 2**32 - 2, bytes(100)), "long-number.ppm": b"P6 " + b"9" * 5_000_000,
        "wide.ppm": b"P6 40000 40000 255\n" + bytes(1000),
        "negative.bmp": stored(image, "BMP")[:22] + struct.pack("<i", -(2**31)) + stored(image, "BMP")[26:],
    }
    return files | {
        "huge.bmp": stored(image, "BMP")[:18] + struct.pack("<ii", 30_000, 30_000) + stored(image, "BMP")[26:]
    }
