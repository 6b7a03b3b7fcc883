"""The editor: any kind in, the same kind out; zero is exact; nonsense is refused with a remedy; and no training."""
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from lessons import ROOT
from PIL import Image
from toy_editor import network, stored
from toy_pictures import huge_png, image, smooth

from expr_course.action_units import AUS, EMOTIONS, emotion_vector
from expr_course.editing.expression_editor import ExpressionEditor, edit_faces, requested, shrink, square
from expr_course.faces import render, sample_identities
from expr_course.networks.msf import MSFUNet
from expr_course.networks.unet import ConditionalUNet
from expr_course.training.weights import save_network


@pytest.fixture(scope="module")
def editor():
    return ExpressionEditor(network(), size=32, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_network(folder / "generator.safetensors", network(), size=32)
    (folder / "card.json").write_text(
        json.dumps(dict(recipe=dict(recipe="relative", profile="smoke", size=32), steps=6, seed=0))
    )
    return folder


SMILE = {"AU12": 0.8}
NOTHING = {
    "empty": dict(aus={}), "zero": dict(aus={"AU12": 0.0}), "vector": dict(aus=torch.zeros(17, 2)),
    "intensity": dict(emotion="fear", intensity=0), "neutral": dict(emotion="neutral"),
}
KINDS = {
    "tensor": lambda: smooth(), "batch of one": lambda: smooth()[None], "half": lambda: smooth().half(),
    "double": lambda: smooth().double(), "uint8 array": lambda: np.asarray(image()).copy(),
    "grey array": lambda: np.asarray(image(mode="L")).copy(),
    "H×W×1": lambda: np.asarray(image(mode="L"))[..., None].copy(),
    "RGBA array": lambda: np.asarray(image(mode="RGBA")).copy(),
    "uint16 array": lambda: np.asarray(image(mode="L")).astype(np.uint16) * 257,
    "float32 array": lambda: (np.asarray(image()) / 255).astype(np.float32),
    "float64 array": lambda: np.random.default_rng(0).random((64, 64, 3)), "RGB": lambda: image(),
    "L": lambda: image(mode="L"), "RGBA": lambda: image(mode="RGBA"), "LA": lambda: image(mode="LA"),
    "16 bit": lambda: Image.fromarray(np.asarray(image(mode="L")).astype(np.uint16) * 257),
}


def pixels(picture):
    if isinstance(picture, torch.Tensor): return picture.numpy()
    return np.asarray(picture)


def mode(picture):
    return picture.mode if isinstance(picture, Image.Image) else ""


# --- kinds -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "nothing",
    [
        dict(aus={}), dict(aus={"AU12": 0.0}), dict(aus=torch.zeros(17, 2)), dict(emotion="fear", intensity=0),
        dict(emotion="neutral"),
    ],
    ids=["empty", "zero", "vector", "intensity", "neutral"],
)
def test_zero_is_exact(editor, kind, nothing):
    picture = KINDS[kind]()
    before = pixels(picture).copy()
    out = editor.edit(picture, **nothing)
    assert type(out) is type(picture) and out is not picture
    assert pixels(out).dtype == before.dtype and np.array_equal(pixels(out), before)
    assert mode(out) == mode(picture)


@pytest.mark.parametrize("kind", KINDS)
def test_same_kind_out_and_the_input_is_not_touched(editor, kind):
    picture = KINDS[kind]()
    before = pixels(picture).copy()
    out = editor.edit(picture, SMILE)
    assert type(out) is type(picture) and pixels(out).shape == before.shape and pixels(out).dtype == before.dtype
    assert mode(out) == mode(picture)
    assert not np.array_equal(pixels(out), before) and np.array_equal(pixels(picture), before)
    if "A" in mode(picture):
        assert np.array_equal(pixels(out)[..., -1], before[..., -1])


def test_a_path_gives_a_pil_image(editor, tmp_path):
    image().save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(np.asarray(editor.edit(path, SMILE)), np.asarray(editor.edit(image(), SMILE)))
    assert isinstance(editor.edit((tmp_path / "a.png").read_bytes(), SMILE), Image.Image)


def test_converted_kinds_come_back_as_rgb(editor):
    for mode in ("P", "CMYK"):
        assert editor.edit(image(mode=mode), SMILE).mode == "RGB"


def test_exif_rotated_is_edited_upright(editor):
    tag = Image.Exif()
    tag[0x0112] = 6
    lying = Image.open(io.BytesIO(stored(image((48, 64)).transpose(Image.Transpose.ROTATE_90), "PNG", exif=tag)))
    assert lying.size == (48, 64)
    assert np.array_equal(np.asarray(editor.edit(lying, SMILE)), np.asarray(editor.edit(image((48, 64)), SMILE)))


def test_device_and_autograd(editor):
    picture = smooth().requires_grad_()
    assert not editor.edit(picture, SMILE).requires_grad and not editor.edit(picture, {}).requires_grad


# --- where it edits ----------------------------------------------------------------------------------------------

@given(st.integers(20, 70), st.integers(20, 70))
@settings(max_examples=10)
def test_nothing_outside_the_centred_square(height, width):
    picture = smooth((height, width))
    out = ExpressionEditor(network(), size=32, device="cpu").edit(picture, SMILE)
    top, left, side = square(picture)
    assert side == min(height, width) and abs(2 * top + side - height) <= 1 and abs(2 * left + side - width) <= 1
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[top:top + side, left:left + side] = True
    assert torch.equal(out[:, ~inside], picture[:, ~inside]) and not torch.equal(out, picture)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 3), (33, 31)])
def test_tiny_pictures(editor, size):
    out = editor.edit(smooth(size), SMILE)
    assert out.shape == (3, *size) and out.isfinite().all()


def test_full_resolution_is_not_blurred(editor):
    """A fine pattern survives where nothing moves; small networks would smear it."""
    fine = (smooth((256, 256)) * 0.5 + 0.2 * (-1.0) ** torch.arange(256)).clamp(-1, 1)
    still = MSFUNet(34, 4, "displacement").eval()     # untrained: nothing moves, nothing is added
    out = ExpressionEditor(still, size=32, device="cpu").edit(fine, SMILE)
    assert (out - fine).abs().mean() < 0.05
    blurred = torch.nn.functional.interpolate(shrink(fine[None], 32), (256, 256))[0]
    assert (blurred - fine).abs().mean() > 0.15


# --- small wishes ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("head", ["displacement", "attention", "direct"])
@pytest.mark.parametrize("size", [32, 80])
def test_small_is_small_and_rises_without_a_jump(head, size):
    editor, picture = ExpressionEditor(network(head=head), size=32, device="cpu"), smooth((size, size))
    change = [
        (editor.edit(picture, SMILE, intensity=s) - picture).abs().max().item() for s in (0, 1e-4, 0.001, 0.01, 0.1, 1)
    ]
    assert change[0] == 0 and 0 < change[1] < 0.003 and change[2] < 0.02 and change[3] < 0.15 and change[3] < change[5]
    near = [editor.edit(picture, SMILE, intensity=s) for s in (0.5, 0.501)]
    assert (near[0] - near[1]).abs().max() < 0.02


@pytest.mark.parametrize("head", ["displacement", "attention", "direct"])
def test_batches_equal_single_edits(head):
    editor = ExpressionEditor(network(head=head), size=32, device="cpu")
    faces, wishes = (
        torch.stack([smooth((48, 48), k) for k in range(3)]),
        torch.stack([emotion_vector(e) for e in ("neutral", "fear", "contempt")]),
    )
    out = editor.edit_batch(faces, None, wishes)
    assert torch.equal(out[0], faces[0])
    for k in range(3):
        assert torch.allclose(out[k], editor.edit(faces[k], wishes[k]), atol=1e-5)


def test_edit_faces_never_leaves_the_range():
    painter = network(head="direct")
    out = edit_faces(painter, torch.rand(2, 3, 64, 64) * 2 - 1, torch.ones(2, 17, 2), 32)
    assert -1 <= out.min() and out.max() <= 1


# --- wishes ------------------------------------------------------------------------------------------------------

def test_wishes_mean_the_same_in_every_form():
    named = requested({"AU12": 0.8, "AU04R": -0.3})
    assert (
        named[8].tolist() == pytest.approx([0.8, 0.8])
        and named[2].tolist() == pytest.approx([0, -0.3])
        and named.abs().sum() == pytest.approx(1.9)
    )
    for form in (named, named[None], named.double(), named.numpy(), named.tolist()):
        assert torch.allclose(requested(form), named)
    assert torch.equal(requested(torch.full((17,), 0.5)), torch.full((17, 2), 0.5))
    assert torch.allclose(requested(named, intensity=0.5), named / 2)
    assert requested({"AU12": np.float32(0.5), "AU04": torch.tensor(0.25), "AU01": 1})[8, 0] == 0.5


def test_emotions():
    for name in EMOTIONS:
        assert torch.allclose(requested(emotion=name, intensity=1.25), 1.25 * emotion_vector(name))
    shown = emotion_vector("happiness")
    assert not requested(emotion="happiness", known=shown).any()
    assert torch.equal(requested(emotion="neutral", known=shown), -shown)


BAD = [
    (dict(aus={"AU99": 0.5}), "AU99.*AU09"), (dict(aus={"smile": 0.5}), "smile"),
    (dict(aus={"AU12": 1.5}), r"AU12 = 1\.5.*1\.25"), (dict(aus={"AU12": -2}), "AU12 = -2"),
    (dict(aus={"AU12": float("nan")}), "AU12 = nan"), (dict(aus={"AU12": float("inf")}), "AU12 = inf"),
    (dict(aus={"AU12": "much"}), "'much' is no number"), (dict(aus={"AU12": None}), "None is no number"),
    (dict(aus={"AU12": 0.5, "au12": 0.4}), "twice"), (dict(aus={3: 0.5}), "3"), (dict(aus="AU12=0.8"), "give a dict"),
    (dict(aus=torch.zeros(16)), "shape 16"), (dict(aus=torch.zeros(2, 17, 2)), "2×17×2"),
    (dict(aus=torch.tensor(0.5)), "a single number"), (dict(aus=torch.zeros(17, 3)), "17×3"),
    (dict(aus=torch.zeros(17, dtype=torch.long)), "int64"), (dict(aus=[True] * 17), "bool"),
    (dict(aus=torch.full((17,), torch.nan)), "AU01 left is nan"), (dict(aus=torch.full((17, 2), 1.3)), r"1\.3"),
    (dict(), "say what to change"), (dict(aus={}, emotion="fear"), "either"),
    (dict(emotion="happyness"), "'happiness'"), (dict(emotion=""), "known:"),
    (dict(emotion="fear", intensity=1.3), "intensity 1.3"), (dict(emotion="fear", intensity=-0.1), "intensity -0.1"),
    (dict(emotion="fear", intensity=float("nan")), "intensity nan"), (dict(aus={}, intensity="x"), "intensity = 'x'"),
    (dict(aus={"AU12": 1.2}, intensity=1.25), "AU12 = 1.2 times intensity 1.25"),
]


@pytest.mark.parametrize("wish, message", BAD, ids=[str(k) for k in range(len(BAD))])
def test_bad_wishes(editor, wish, message):
    with pytest.raises((ValueError, TypeError), match=message):
        editor.edit(smooth(), **wish)


BAD_PICTURES = [
    (lambda: torch.zeros(3, 0, 5), "no pixels"), (lambda: torch.full((3, 8, 8), torch.nan), "NaN"),
    (lambda: torch.full((3, 8, 8), 7.0), "127.5"), (lambda: torch.zeros(2, 3, 8, 8), "one picture at a time"),
    (lambda: torch.zeros(3, 8, 8, dtype=torch.uint8), "uint8"), (lambda: torch.zeros(8, 8, 3), "3×H×W"),
    (lambda: np.zeros((8, 8, 3), np.int64), "int64"), (lambda: np.zeros((8, 8, 2), np.uint8), "8×8×2"),
    (lambda: np.zeros((0, 8, 3), np.uint8), "no pixels"), (lambda: b"", "empty"), (lambda: b"milk", "not a picture"),
    (lambda: stored(image())[:2000], "damaged"), (lambda: huge_png(), "too large|more than max_pixels"),
    (lambda: None, "NoneType"), (lambda: "no/such/file.png", "no file"),
]


@pytest.mark.parametrize("make, message", BAD_PICTURES, ids=[str(k) for k in range(len(BAD_PICTURES))])
def test_bad_pictures(editor, make, message):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        editor.edit(make(), SMILE)


def test_sides():
    whole = ExpressionEditor(network(17), size=32, device="cpu")
    assert not whole.per_side and "both sides alike" in repr(whole)
    assert not torch.equal(whole.edit(smooth(), SMILE), smooth())
    for wish in (dict(aus={"AU12L": 0.8}), dict(aus={"AU12": 0.8, "AU12R": 0.3}), dict(emotion="contempt")):
        with pytest.raises(ValueError, match=r"AU12 is asked for .* left and .* right.*one number per AU.*AU12\)"):
            whole.edit(smooth(), **wish)
    assert torch.equal(whole.edit(smooth(), {"AU12L": 0.8, "AU12R": 0.8}), whole.edit(smooth(), SMILE))


def test_one_side_is_another_edit(editor):
    left, right, both = (editor.edit(smooth(), {name: 0.8}) for name in ("AU12L", "AU12R", "AU12"))
    assert editor.per_side and not torch.equal(left, right) and not torch.equal(left, both)


def test_pixels_and_the_wish_that_they_took(editor):
    picture = smooth((40, 60))
    out, asked = editor.edit_pixels(picture, emotion="fear", intensity=0.5)
    assert torch.equal(out, editor.edit(picture, emotion="fear", intensity=0.5))
    assert torch.equal(asked, requested(emotion="fear", intensity=0.5))
    still, asked = editor.edit_pixels(picture, {})
    assert torch.equal(still, picture) and still is not picture and not asked.any()


def test_a_wish_is_computed_once(editor, monkeypatch):
    wishes = []
    def counted(*args, wish=editor.wish):
        wishes.append(wish(*args))
        return wishes[-1]
    monkeypatch.setattr(editor, "wish", counted)
    editor.edit(smooth(), SMILE)
    editor.edit(smooth(), {})
    assert len(wishes) == 2


# --- its parts ---------------------------------------------------------------------------------------------------

def test_editing_knows_nothing_of_training():
    """In a process of its own, so that no other test has loaded anything."""
    training = ["accelerate", "datasets", "kornia", "expr_course.data.augment", "expr_course.training.command",
                "expr_course.training.learner"]
    code = f"import sys, expr_course.editing; print(*[name for name in {training} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.strip() == "", done.stdout + done.stderr


class Reader(torch.nn.Module):
    """Always reads a happy face, a little more on the left."""
    def forward(self, x):
        return (emotion_vector("happiness") + torch.tensor([0.1, 0.0])).clamp(max=1)[None].expand(len(x), -1, -1)


def test_an_estimator_is_subtracted():
    judged = ExpressionEditor(network(), estimator=Reader(), size=32, device="cpu")
    assert torch.allclose(judged.wish(smooth(), emotion="neutral"), -Reader()(smooth()[None])[0])
    assert torch.allclose(
        judged.wish(smooth(), emotion="happiness"), -(Reader()(smooth()[None])[0] - emotion_vector("happiness"))
    )
    assert torch.equal(judged.wish(smooth(), SMILE), requested(SMILE))
    # a reading with sides, a network without
    ExpressionEditor(network(17), estimator=Reader(), size=32, device="cpu").edit(smooth(), emotion="fear")


def test_from_pretrained_brings_the_bundled_estimator_when_it_is_asked_for(monkeypatch, tmp_path):
    from expr_course.editing import expression_editor as editing
    from expr_course.measuring.estimator import AUEstimator
    monkeypatch.setattr(editing, "WEIGHTS", tmp_path)
    save_network(tmp_path / editing.BUNDLED / "generator.safetensors", network(), size=32)
    (tmp_path / editing.BUNDLED / "card.json").write_text("{}")
    assert ExpressionEditor.from_pretrained(device="cpu").estimator is None, (
        "no weights, no estimator: emotions are prototypes"
    )
    torch.manual_seed(0)
    save_network(tmp_path / "estimator" / "estimator.safetensors", AUEstimator(8, 64, (1, 1), 4, 16))
    editor = ExpressionEditor.from_pretrained(device="cpu")
    assert editor._estimator is None, "nothing is loaded before it is needed"
    with torch.no_grad():
        known = editor.estimator(smooth()[None])[0]
    with torch.no_grad():
        assert torch.allclose(editor.wish(smooth(), emotion="fear"), emotion_vector("fear") - known, atol=1e-5), (
            "read at the estimator's own size"
        )
    assert ExpressionEditor(network(), size=32, device="cpu").estimator is None
    editor.estimator = None
    assert torch.equal(editor.wish(smooth(), emotion="fear"), emotion_vector("fear"))


def test_parse():
    parser = torch.nn.Conv2d(3, 19, 1)
    labels = ExpressionEditor(network(), parser, size=32, device="cpu").parse(image((40, 30)))
    assert labels.shape == (40, 30) and labels.dtype == torch.long


def test_the_bundled_parser_names_a_drawn_face(monkeypatch, tmp_path):
    from expr_course.editing import expression_editor as editing
    people = render(sample_identities(4, seed=11), torch.zeros(4, 17, 2), size=96)
    fresh = ExpressionEditor(network(), size=32, device="cpu")
    agree = [(fresh.parse(x) == y).float().mean() for x, y in zip(people.image, people.labels)]
    assert min(agree) > 0.85 and fresh.parser is not None, "kept once it was loaded"
    monkeypatch.setattr(editing, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="parser.safetensors"):
        ExpressionEditor(network(), size=32, device="cpu").parse(people.image[0])


def test_a_generator_must_have_parts():
    with pytest.raises(TypeError, match="Conv2d has no parts"):
        ExpressionEditor(torch.nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match="abacus"):
        ExpressionEditor(network(), device="abacus")


def test_from_a_folder(editor, folder):
    again = ExpressionEditor.from_pretrained(folder, device="cpu")
    assert again.size == 32 and again.card["steps"] == 6 and again.card["weights"]["network"] == "MSFUNet"
    assert "recipe relative" in repr(again) and "17 AUs, left and right" in repr(again)
    assert torch.equal(again.edit(smooth(), SMILE), editor.edit(smooth(), SMILE))


def test_the_size_stands_in_the_card_too(tmp_path):
    save_network(tmp_path / "generator.safetensors", ConditionalUNet(34, 4, "displacement"))
    (tmp_path / "card.json").write_text('{"recipe": {"size": 128}}')
    assert ExpressionEditor.from_pretrained(str(tmp_path), device="cpu").size == 128


def copy_of(folder, target, **changes):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_weights_missing_damaged_or_of_another_version(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"generator\.safetensors.*expr-train"):
        ExpressionEditor.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a file: name the folder"):
        ExpressionEditor.from_pretrained(folder / "generator.safetensors")
    no_card = copy_of(folder, tmp_path / "no_card")
    (no_card / "card.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"card\.json"):
        ExpressionEditor.from_pretrained(no_card)
    half = copy_of(folder, tmp_path / "half")
    (half / "generator.safetensors").write_bytes((folder / "generator.safetensors").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"generator\.safetensors is damaged"):
        ExpressionEditor.from_pretrained(half)
    save_network(half / "generator.safetensors", network(), faces="0.0")
    with pytest.warns(UserWarning, match="faces 0.0"):
        ExpressionEditor.from_pretrained(half)


def test_au_names_are_all_usable(editor):
    wish = dict.fromkeys(AUS, 0.1)
    assert torch.equal(requested(wish), torch.full((17, 2), 0.1))
