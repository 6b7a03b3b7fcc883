"""Small editors for the tests, untrained but not idle, and the pictures and messages that are sent to them."""
import io

import numpy as np
import torch
from PIL import Image

from expr_course.editing import ExpressionEditor
from expr_course.data.images import open_image
from expr_course.networks.msf import MSFUNet


def network(n_aus=34, head="displacement"):
    torch.manual_seed(0)
    net = MSFUNet(n_aus, 4, head)
    if head == "displacement":
        torch.nn.init.normal_(net.head.flow.weight, 0, 0.3)  # starts at zero: nothing would move
    return net.eval()


class Counting(ExpressionEditor):
    """Counts its edits, and parses by brightness."""
    count = parsed = 0

    def edit(self, *args, **more):
        self.count += 1
        return super().edit(*args, **more)

    def parse(self, image):
        self.parsed += 1
        return (open_image(image).rgb.mean(0) > 0).long()


def stored(image, format="PNG", **options):
    """An image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(size=(60, 40), mode="RGB", **options):
    """The bytes of a PNG with a ramp of colours; size: width, height."""
    pixels = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    return stored(Image.fromarray(pixels).convert(mode), **options)


def send(pick, name, data):
    """What the browser sends to the editor after a file was chosen."""
    refused = len(data) > pick.limit
    pick._handle_custom_msg(
        {"kind": "refused" if refused else "file", "name": name, "size": len(data)},
        [] if refused else [memoryview(data)],
    )
