"""What the browser tests do with a page: look, wait, take a knob and drag it."""
import os
import time
from pathlib import Path

BYTES = """image => fetch(image.src).then(r => r.arrayBuffer()).then(b => crypto.subtle.digest('SHA-256', b))
           .then(d => Array.from(new Uint8Array(d)).map(n => n.toString(16).padStart(2, '0')).join(''))"""


def picture(page, view):
    """The fingerprint of the bytes that a view shows."""
    return page.locator(f"img.expr-{view}").first.evaluate(BYTES)


def until(page, *checks, seconds=120):
    """Wait until every check holds: widgets hear from the kernel one after the other, in no fixed order."""
    end = time.monotonic() + seconds
    while not all(check() for check in checks):
        assert time.monotonic() < end, f"after {seconds} s: {[check() for check in checks]}"
        page.wait_for_timeout(100)


def handle(page, name):
    """The knob of a slider, in view."""
    knob = page.locator(".widget-slider", has_text=name).locator(".noUi-handle").first
    knob.scroll_into_view_if_needed()
    return knob


def still(page, knob):
    """Where the knob is, once it stays there: pictures that arrive push it down the page."""
    box = None
    while box != (box := knob.bounding_box()):
        page.wait_for_timeout(200)
    return box


def readout(page, name):
    return float(
        page.locator(".widget-slider", has_text=name).locator(".widget-readout").first.inner_text().replace("−", "-")
    )


def drag(page, name, pixels, steps=25):
    """Take the knob with the mouse and move it sideways."""
    box = still(page, handle(page, name))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y, steps=steps)
    page.mouse.up()


def settled(page, view):
    """Wait until a view has stayed the same for a second: the last steps of a drag wait in the page while the kernel
    works."""
    seen = None
    while seen != (seen := picture(page, view)):
        page.wait_for_timeout(1000)


def shoot(page, name):
    """A screenshot, kept where EXPR_SHOTS points to."""
    if os.environ.get("EXPR_SHOTS"):
        page.screenshot(path=Path(os.environ["EXPR_SHOTS"]) / f"{name}.png")
