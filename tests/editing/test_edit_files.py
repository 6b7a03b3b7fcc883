"""Files of edited pictures: whole or not at all, never the input, with a sentence; and words that become a wish."""
import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image
from toy_editor import network, stored
from toy_pictures import huge_png, image

from expr_course import __version__
from expr_course.action_units import au_vector
from expr_course.editing import ExpressionEditor
from expr_course.editing.files import (edit_arguments, edit_file, in_words, named_values, politely, provenance,
                                       save_png)
from expr_course.faces import VERSION
from expr_course.training.weights import save_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_network(folder / "generator.safetensors", network(), size=32)
    (folder / "card.json").write_text(json.dumps(dict(recipe=dict(recipe="relative", size=32), steps=6, seed=0)))
    return folder


@pytest.fixture(scope="module")
def editor(folder):
    return ExpressionEditor.from_pretrained(folder, device="cpu")


def command(*words):
    """A command made of the parts of lesson 11e, as that of lesson 18c is: 0, or 2 after an error in what was asked."""
    asked = edit_arguments().parse_args([*map(str, words)])
    def work():
        editor = ExpressionEditor.from_pretrained(asked.weights, "cpu")
        wish = named_values(asked.aus), asked.emotion, asked.intensity, asked.size
        return edit_file(editor, asked.source, asked.target, *wish)
    done = politely(work)
    if done is None: return 2
    print(f"{asked.target}: {in_words(done[0])}", *done[1])
    return 0


@pytest.fixture
def run(folder, tmp_path, capsys):
    """run(*words) -> (exit code, stdout, stderr), with small weights; and the folder that pictures are in."""
    def run(*words, weights=folder):
        code = command(*words, "--weights", weights)
        return code, *capsys.readouterr()
    image().save(tmp_path / "in.png")
    return run


def test_edits_a_file(run, editor, tmp_path):
    code, out, err = run(tmp_path / "in.png", tmp_path / "out.png", "AU12=+0.8", "AU04=-0.3")
    assert code == 0 and err == "" and "out.png" in out and "AU12 +0.80" in out
    result = Image.open(tmp_path / "out.png")
    assert np.array_equal(np.asarray(result), np.asarray(editor.edit(image(), {"AU12": 0.8, "AU04": -0.3})))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", "out.png"]


def test_provenance(run, tmp_path):
    run(tmp_path / "in.png", tmp_path / "out.png", "AU12L=+0.8", "--intensity", 0.5)
    text = Image.open(tmp_path / "out.png").text
    assert text["Software"] == f"expr_course {__version__}"
    assert "edited" in text["Comment"] and f"faces {VERSION}" in text["Comment"] and "AU12L +0.40" in text["Comment"]


def test_emotions_and_zero(run, folder, tmp_path):
    # as the command reads it: with the bundled estimator, where there is one
    editor = ExpressionEditor.from_pretrained(folder)
    assert run(tmp_path / "in.png", tmp_path / "a.png", "--emotion", "happiness", "--intensity", "0.75")[0] == 0
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "a.png")),
        np.asarray(editor.edit(image(), emotion="happiness", intensity=0.75)),
    )
    assert run(tmp_path / "in.png", tmp_path / "b.png", "AU12=0")[0] == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), np.asarray(image()))


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK"])
def test_every_mode_gets_a_png(run, tmp_path, mode):
    format = "TIFF" if mode == "CMYK" else "PNG"
    (tmp_path / "x").write_bytes(stored(image(mode=mode), format))
    code, _, err = run(tmp_path / "x", tmp_path / "out.png", "AU12=0.8")
    assert code == 0, err
    Image.open(tmp_path / "out.png").load()


def test_sixteen_bits_float_and_exif(run, tmp_path):
    grey = np.asarray(image(mode="L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    assert run(tmp_path / "16.png", tmp_path / "out.png", "AU12=0.8")[0] == 0
    assert Image.open(tmp_path / "out.png").mode.startswith("I;16")
    Image.fromarray((grey / 255).astype(np.float32)).save(tmp_path / "f.tif")
    code, _, err = run(tmp_path / "f.tif", tmp_path / "out2.png", "AU12=0.8")
    assert code == 2 and "out2.png" in err and "16-bit" in err and not (tmp_path / "out2.png").exists()
    tag = Image.Exif()
    tag[0x0112] = 6
    image((48, 64)).save(tmp_path / "turned.jpg", exif=tag)
    code, out, _ = run(tmp_path / "turned.jpg", tmp_path / "up.png", "AU12=0.8")
    assert code == 0 and "turned upright" in out and Image.open(tmp_path / "up.png").size == (48, 64)


def test_size(run, tmp_path):
    image((96, 200)).save(tmp_path / "wide.png")
    assert run(tmp_path / "wide.png", tmp_path / "out.png", "AU12=0.8", "--size", 100)[0] == 0
    assert Image.open(tmp_path / "out.png").size == (100, 48)
    assert run(tmp_path / "in.png", tmp_path / "out.png", "AU12=0.8", "--size", 100)[0] == 0
    assert Image.open(tmp_path / "out.png").size == (64, 64)


REFUSED = [
    (["AU99=0.5"], "AU99.*AU09"), (["AU12"], "'AU12'.*AU12=[+]0.8"), (["AU12=much"], "'much'.*no number"),
    (["AU12=0,8"], "0,8"), (["AU12=nan"], "AU12 = nan"), (["AU12=9"], "AU12 = 9"),
    (["AU12=0.5", "AU12=0.6"], "AU12.*twice"), ([], "say what to change"), (["AU12=1", "--emotion", "fear"], "either"),
    (["--emotion", "joy"], "joy.*happiness"), (["--emotion", "fear", "--intensity", "2"], "intensity 2"),
    (["AU12=0.8", "--size", "0"], "size 0"), (["AU12=1.2", "--intensity", "1.25"], "AU12 = 1.2 times"),
]


@pytest.mark.parametrize("words, message", REFUSED, ids=[" ".join(a) or "nothing" for a, _ in REFUSED])
def test_refuses_wishes(run, tmp_path, words, message):
    code, out, err = run(tmp_path / "in.png", tmp_path / "out.png", *words)
    assert code == 2 and out == "" and err.startswith("expr-edit: ") and err.count("\n") == 1 and "Traceback" not in err
    assert re.search(message, err) and [p.name for p in tmp_path.iterdir()] == ["in.png"]


def test_words_that_no_option_fits_end_with_the_usage(capsys):
    for words in (["in.png"], ["a", "b", "AU12=1", "--colour"], ["a", "b", "AU12=1", "--intensity", "x"]):
        with pytest.raises(SystemExit) as stop:
            edit_arguments().parse_args(words)
        assert stop.value.code == 2 and "usage: expr-edit" in capsys.readouterr().err


def test_options():
    asked = edit_arguments().parse_args(["a.jpg", "b.png", "AU12=+0.8", "AU04=-0.3"])
    assert (asked.source, asked.target, asked.intensity) == ("a.jpg", "b.png", 1.0)
    assert named_values(asked.aus) == {"AU12": 0.8, "AU04": -0.3} and named_values([]) is None
    assert asked.emotion is asked.weights is asked.size is asked.device is None


def test_words_and_provenance_of_a_wish():
    wish = au_vector({"AU12": 0.8, "AU04L": -0.3}, relative=True)
    assert in_words(wish) == "AU04L -0.30, AU12 +0.80" and in_words(0 * wish) == "nothing"
    assert "faces 0.7" in provenance(wish, {"weights": {"faces": "0.7"}})["Comment"]
    assert f"faces {VERSION}" in provenance(wish, {})["Comment"]


def test_only_what_was_foreseen_becomes_a_line(capsys):
    def careful():
        warnings.warn("mind the step", stacklevel=1)
        return 7
    assert politely(careful) == 7 and capsys.readouterr().err == "expr-edit: note: mind the step\n"
    with pytest.raises(ZeroDivisionError):
        politely(lambda: 1 / 0)


def test_a_png_is_whole_or_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"f\.png: .*16-bit"):
        save_png(Image.fromarray(np.zeros((8, 8), np.float32)), tmp_path / "f.png", {})
    assert not list(tmp_path.iterdir())
    save_png(image(), tmp_path / "g.png", {"Comment": "ä"})
    assert Image.open(tmp_path / "g.png").text == {"Comment": "ä"}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: b"", "empty"), (lambda: b"milk, bread", "not a picture"), (lambda: stored(image())[:2000], "damaged"),
        (lambda: huge_png(), "too large|max_pixels"), (lambda: stored(image(), "JPEG")[:700], "damaged"),
    ],
    ids=["empty", "text", "truncated png", "huge", "truncated jpeg"],
)
def test_refuses_pictures(run, tmp_path, make, message):
    (tmp_path / "in.png").write_bytes(make())
    code, out, err = run(tmp_path / "in.png", tmp_path / "out.png", "AU12=0.8")
    assert code == 2 and out == "" and err.startswith("expr-edit: ") and "in.png" in err and re.search(message, err)
    assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


def test_refuses_places(run, tmp_path):
    here = tmp_path / "in.png"
    before = here.read_bytes()
    for target, message in (
        (here, "its own input"), (tmp_path / "out.jpg", r"\.png"), (tmp_path / "no" / "out.png", "no folder"),
        (tmp_path, r"\.png"),
    ):
        code, _, err = run(here, target, "AU12=0.8")
        assert code == 2 and re.search(message, err), err
    (tmp_path / "folder.png").mkdir()
    assert run(here, tmp_path / "folder.png", "AU12=0.8")[0] == 2
    code, _, err = run(tmp_path / "nothing.png", tmp_path / "out.png", "AU12=0.8")
    assert code == 2 and "no file" in err
    assert here.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "in.png"]


def test_refuses_weights(run, folder, tmp_path):
    for weights, message in ((tmp_path / "none", r"generator\.safetensors"), (folder / "card.json", "name the folder")):
        code, _, err = run(tmp_path / "in.png", tmp_path / "out.png", "AU12=0.8", weights=weights)
        assert code == 2 and re.search(message, err)
    other = tmp_path / "other"
    other.mkdir()
    save_network(other / "generator.safetensors", network(17), size=32, faces="0.0")
    (other / "card.json").write_text("{}")
    code, _, err = run(tmp_path / "in.png", tmp_path / "out.png", "AU12L=0.8", weights=other)
    assert code == 2 and "one number per AU" in err
    code, _, err = run(tmp_path / "in.png", tmp_path / "out.png", "AU12=0.8", weights=other)
    assert code == 0 and "faces 0.0" in err and ".py:" not in err


def test_a_failed_write_leaves_what_was_there(run, tmp_path, monkeypatch):
    (tmp_path / "out.png").write_bytes(b"older")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    code, _, err = run(tmp_path / "in.png", tmp_path / "out.png", "AU12=0.8")
    assert code == 2 and "No space left" in err
    assert (tmp_path / "out.png").read_bytes() == b"older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", "out.png"]
