"""Bad input, through both doors: the editor's upload and expr-edit. Each file ends as a picture or as a sentence that
names it; nothing else happens."""
import gc
import io
import re
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from damaged import HEIGHT, WAYS, WIDTH, damaged, harmful, originals
from PIL import Image
from toy_editor import network, send

from expr_course.photos import paste
from expr_course.photos.command import edit_all
from expr_course.editing import ExpressionEditor
from expr_course.data.images import MAX_PIXELS
from expr_course.plots import to_pil
from expr_course.editing.views import MAX_UPLOAD_PIXELS, drawn_subject as drawn

SECONDS = 30  # of CPU, for one file
COPIES = 10  # of the largest picture that is let in, 12 bytes a pixel, are in memory at one time; measured 8.8
LIMITS = {"upload": MAX_UPLOAD_PIXELS, "command": MAX_PIXELS}
LOOKS = 10  # every so many files, faces are looked for in earnest; in between nothing is found, which takes no time


@pytest.fixture(scope="module")
def image():
    """A drawn face in a small photograph."""
    photo = Image.new("RGB", (WIDTH, HEIGHT), (90, 80, 70))
    photo.paste(to_pil(drawn(12, size=64).face), (11, 2))
    return photo


@pytest.fixture(scope="module")
def editor():
    return ExpressionEditor(network(), size=32, device="cpu")


@pytest.fixture(autouse=True)
def looks(monkeypatch):
    count, search = [0], paste.search
    def now_and_then(*args):
        count[0] += 1
        return search(*args) if count[0] % LOOKS == 1 else ([], [])
    monkeypatch.setattr(paste, "search", now_and_then)


@pytest.fixture
def memory():
    """memory() -> megabytes that this process held at most, above what it held when the test began."""
    resource = pytest.importorskip("resource")
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peaks of earlier tests
    except OSError:
        pass
    def most():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    start = most()
    return lambda: most() - start


@pytest.fixture
def upload(editor):
    """upload(name, data) -> "" or the sentence that the editor shows; checks that it is one, and that the editor goes
    on."""
    pytest.importorskip("ipywidgets")
    pytest.importorskip("anywidget")
    from expr_course.editor import Editor
    tool, saved = Editor(editor=editor, size=32), []
    tool.sliders["AU12"].both.value = 0.8
    tool.display.stage.hand_over = lambda name, data, kind: saved.append(data)

    def complaint():
        found = re.fullmatch(r"<div role='alert'.*?><b>(\w+):</b> (.*)</div>", tool.error.value, re.DOTALL)
        assert found or not tool.error.value
        assert not found or found[1] in ("ValueError", "OSError"), f"not foreseen: {tool.error.value}"
        return found[2] if found else ""

    def upload(name, data):
        before, edit = tool.session.portrait, tool.session.edit
        send(tool.c.pick, name, data)
        if words := complaint():
            assert tool.session.portrait is before and tool.session.edit == edit, "a refused file is on the table"
            assert name in words, f"which file? {words}"
            return words
        assert (
            tool.session.portrait.name == name
            and tool.session.portrait.data == data
            and tool.session.edit == edit
            and tool.display.stage.widget.before[:4] == tool.display.stage.widget.after[:4] == b"\x89PNG"
        )
        tool.c.save["png"].click()
        if words := complaint():
            assert "floating-point" in words  # which a PNG cannot hold
        else:
            Image.open(io.BytesIO(saved.pop())).load()
        return ""
    return upload


@pytest.fixture
def command(editor, tmp_path, capsys):
    """command(name, data) -> "" or what expr-edit says on standard error; checks that it is one line, and that nothing
    else was written."""
    def command(name, data):
        source, target = tmp_path / name, tmp_path / "edited.png"
        source.write_bytes(data)
        failed = edit_all(editor, [(source, target)], aus={"AU12": 0.8})
        words = capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name] + ["edited.png"] * (not failed))
        if failed:
            assert words.startswith("expr-edit: ") and words.count("\n") == 1 and name in words, words
        else:
            Image.open(target).load()
        for path in tmp_path.iterdir():
            path.unlink()
        return words
    return command


def through(door, files, memory, request):
    """Every file through a door, with an eye on the clock and on the memory: how many became pictures, and how many
    sentences."""
    act, most, counts, slowest = request.getfixturevalue(door), COPIES * LIMITS[door] * 12 / 2**20, Counter(), (0.0, "")
    for name, data in files:
        start = time.process_time()
        counts["sentences" if act(name, data) else "pictures"] += 1
        seconds = time.process_time() - start
        slowest = max(slowest, (seconds, name))
        assert seconds < SECONDS and memory() < most, f"{name}: {seconds:.0f} s, {memory():.0f} MB"
    print(
        f"{door}: {dict(counts)}, slowest {slowest[1]} with {slowest[0]:.1f} s of CPU, at most {memory():.0f} MB more"
    )
    return counts


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("door", LIMITS)
def test_damaged_files(door, image, cases, memory, request):
    counts = through(door, damaged(originals(image), cases(2 * len(WAYS), 1000)), memory, request)
    assert min(counts["pictures"], counts["sentences"]) > 3


@pytest.mark.timeout(900)
@pytest.mark.parametrize("door", LIMITS)
def test_files_made_to_do_harm(door, image, memory, request):
    """Bombs, loops, and headers that lie."""
    through(door, harmful(image).items(), memory, request)
