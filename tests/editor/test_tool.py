"""The editor: every callback on real widgets, without a browser."""
import asyncio
import contextlib
import io
import os
import shlex
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from toy_editor import Counting, network, png, send

from expr_course.action_units import AUS, EMOTIONS, au_vector, emotion_vector
from expr_course.editing import ExpressionEditor
from expr_course.editor.session import made_file
from expr_course.editor.stage import widget_classes
from expr_course.editor.state import Edit, asked
from expr_course.data.images import open_image
from expr_course.photos.command import main
from expr_course.plots import to_png
from expr_course.editing.views import MAX_BYTES

pytest.importorskip("ipywidgets")
pytest.importorskip("anywidget")
from expr_course.editor import Editor, Session  # noqa: E402


class Judge(torch.nn.Module):
    size = 32

    def forward(self, image):
        return torch.zeros(len(image), 17, 2) + 0.25


@pytest.fixture
def editor():
    return Counting(network(), size=32, device="cpu")


@pytest.fixture
def tool(editor):
    return Editor(editor=editor, size=48)


def slide(tool, name, value):
    row = tool.sliders[name[:4]]
    (row.both if len(name) == 4 else row.pair["LR".index(name[4])]).value = value


def stage(tool):
    """The widget with both pictures."""
    return tool.display.stage.widget


def tiles(tool):
    """The small pictures, and their places."""
    return tool.display.tiles


def files(tool):
    out = []
    stage(tool).send = lambda message, buffers=None: out.append((message["name"], bytes(buffers[0])))
    return out


# --- showing ------------------------------------------------------------------------------------------------------

def test_starts_with_the_input_to_the_byte(tool):
    assert (
        stage(tool).before == stage(tool).after == to_png(tool.session.portrait.subject.face)
        and tool.session.edit == Edit()
        and not tool.error.value
    )
    assert not np.asarray(Image.open(io.BytesIO(tiles(tool).images["change"].value))).any()
    assert (
        tool.c.undo.disabled
        and tool.c.redo.disabled
        and "drawn person 12" in tool.c.status.value
        and tool.c.number.value == 12
    )


def test_a_slider_edits_and_reset_undoes(tool):
    before = stage(tool).after
    slide(tool, "AU12", 0.8)
    assert (
        torch.allclose(asked(tool.session.edit), au_vector({"AU12": 0.8}))
        and stage(tool).after != before == stage(tool).before
    )
    assert stage(tool).after == to_png(tool.session.editor.edit(tool.session.portrait.subject.face, {"AU12": 0.8}))
    assert (
        "ms for the edit" in tool.c.status.value
        and "alignment" in tool.c.status.value
        and "AU12" in tool.display.bars.value
    )
    tool.c.intensity.value = 0.5
    assert stage(tool).after == to_png(
        tool.session.editor.edit(tool.session.portrait.subject.face, {"AU12": 0.8}, intensity=0.5)
    )
    tool.c.reset.click()
    assert (
        stage(tool).after == before
        and tool.session.edit == Edit()
        and tool.sliders["AU12"].both.value == 0
        and tool.c.intensity.value == 1
    )


def test_one_edit_per_action(tool):
    slide(tool, "AU04", 0.3)
    for action in (
        *(b.click for b in tool.c.emotions.values() if b is not tool.c.emotions["neutral"]), tool.c.other.click,
        tool.c.start.click, tool.c.borrow.click, tool.c.undo.click, tool.c.reset.click,
        lambda: setattr(tool.c.number, "value", 3),
    ):
        before = tool.session.editor.count
        action()
        assert tool.session.editor.count == before + 1, action


def test_nothing_is_sent_twice(tool):
    sent = []
    stage(tool).observe(lambda change: sent.append(change["name"]), ["before", "after"])
    slide(tool, "AU12", 0.8)
    assert sent == ["after"]


def test_views_can_be_switched_off_and_cost_nothing_then(tool):
    assert (
        tool.session.editor.parsed == 0
        and tiles(tool).places["labels"].layout.display == "none"
        and tool.c.opacity.layout.display == "none"
    )
    edits = tool.session.editor.count
    tool.c.views["labels"].value = True
    assert (
        tool.session.editor.parsed == 1
        and tiles(tool).places["labels"].layout.display == ""
        and tool.c.opacity.layout.display == ""
        and tool.session.editor.count == edits
    )
    first = tiles(tool).images["labels"].value
    tool.c.opacity.value = 0.9
    assert tiles(tool).images["labels"].value != first and tool.session.editor.parsed == 1
    tool.c.opacity.value = 0
    assert tiles(tool).images["labels"].value == to_png(tool.session.after)
    slide(tool, "AU12", 0.8)
    assert tool.session.editor.parsed == 2
    for name in ("change", "truth", "labels"):
        tool.c.views[name].value = False
        assert tiles(tool).places[name].layout.display == "none"
    tool.c.views["bars"].value = False
    assert tool.display.bars.layout.display == "none"


def test_without_a_parser_the_labels_say_so_and_switch_off(tool, monkeypatch):
    def missing(image):
        raise FileNotFoundError("there are no weights at parse-unet")
    monkeypatch.setattr(tool.session.editor, "parse", missing)
    tool.c.views["labels"].value = True
    assert "no weights at parse-unet" in tool.error.value and not tool.c.views["labels"].value
    slide(tool, "AU12", 0.8)
    assert tool.error.value == "" and asked(tool.session.edit).any()


def test_figure(tool, editor):
    assert len(tool.figure().axes) == 4
    tool.c.views["labels"].value = True
    assert len(tool.figure().axes) == 5 and len(Editor(png(), editor).figure().axes) == 3


def test_bars(editor, tool):
    slide(tool, "AU12", 0.8)
    assert "not measured" in tool.display.bars.value
    judged = ExpressionEditor(editor.generator, estimator=Judge(), size=32, device="cpu")
    with_judge = Editor(editor=judged, size=48)
    slide(with_judge, "AU12", 0.8)
    assert (
        "not measured" not in with_judge.display.bars.value
        and "obtained, as the estimator reads it" in with_judge.display.bars.value
    )


# --- editing ------------------------------------------------------------------------------------------------------

def test_links(tool):
    slide(tool, "AU12", 0.8)
    tool.sliders["AU12"].link.click()
    assert (
        tool.session.edit.apart == {"AU12"} and tool.sliders["AU12"].widget.children[0] is tool.sliders["AU12"].inside
    )
    slide(tool, "AU12R", -0.2)
    assert torch.allclose(asked(tool.session.edit), au_vector({"AU12L": 0.8, "AU12R": -0.2}, relative=True))
    tool.sliders["AU12"].link.click()
    assert torch.allclose(asked(tool.session.edit), au_vector({"AU12": 0.3})) and tool.sliders["AU12"].both.value == 0.3
    tool.c.undo.click()
    assert tool.session.edit.apart == {"AU12"} and [s.value for s in tool.sliders["AU12"].pair] == [0.8, -0.2]


def test_undo_and_redo(tool, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("expr_course.editor.session.time.monotonic", lambda: clock[0])
    pictures = [stage(tool).after]
    for name, value in (("AU12", 0.8), ("AU04", 0.5), ("AU26", -0.5)):
        clock[0] += 10
        for part in (0.5, 1.0):
            slide(tool, name, value * part)
        pictures.append(stage(tool).after)
    for picture in pictures[-2::-1]:
        tool.c.undo.click()
        assert stage(tool).after == picture
    assert tool.c.undo.disabled and not tool.c.redo.disabled and tool.session.edit == Edit()
    stage(tool)._handle_custom_msg({"kind": "redo"}, [])  # Ctrl+Shift+Z
    assert stage(tool).after == pictures[1] and tool.sliders["AU12"].both.value == 0.8
    for picture in pictures[2:]:
        tool.c.redo.click()
        assert stage(tool).after == picture
    stage(tool)._handle_custom_msg({"kind": "undo"}, [])
    stage(tool)._handle_custom_msg({"kind": "nonsense"}, [])
    assert stage(tool).after == pictures[2] and not tool.error.value


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_emotions(tool, emotion):
    tool.c.emotions[emotion].click()
    assert torch.allclose(asked(tool.session.edit), emotion_vector(emotion)) and tool.session.edit.apart == (
        {"AU12", "AU14"} if emotion == "contempt" else set()
    )
    tool.c.start.click()
    tool.c.emotions[emotion].click()
    assert torch.allclose(
        tool.session.portrait.subject.aus + asked(tool.session.edit), emotion_vector(emotion), atol=0.0051
    )


def test_a_network_without_sides():
    tool = Editor(editor=ExpressionEditor(network(17), size=32, device="cpu"), size=48)
    assert all(row.link.disabled for row in tool.sliders.values())
    tool.c.emotions["contempt"].click()
    assert not tool.error.value and tool.session.edit.aus[AUS.index("AU12")] == (0.3, 0.3)
    tool.c.borrow.click()
    assert not tool.error.value and not tool.session.edit.apart


def test_borrowing(tool):
    tool.c.start.click()
    donor = tool.donor
    tool.c.borrow.click()
    assert torch.allclose(tool.session.portrait.subject.aus + asked(tool.session.edit), donor.aus, atol=0.0051)
    tool.c.donor.click()
    assert (
        not torch.equal(tool.donor.face, donor.face)
        and tool.donor.aus.sum() > 1
        and tool.donor_image.value == to_png(tool.donor.face)
    )


def test_borrowing_from_a_photograph_needs_a_judge(tool, editor):
    slide(tool, "AU12", 0.8)
    send(tool.c.pick_donor, "you.png", png())
    assert tool.donor.aus is None
    edit = tool.session.edit
    tool.c.borrow.click()
    assert "no estimator" in tool.error.value and tool.session.edit == edit
    judged = Editor(png(), ExpressionEditor(editor.generator, estimator=Judge(), size=32, device="cpu"))
    judged.c.borrow.click()
    assert torch.allclose(0.25 + asked(judged.session.edit), judged.donor.aus, atol=0.0051)


def test_the_tool_does_not_fight_the_hand(tool):
    """A slider in the browser may stand at 0.15000000000000002: setting it to 0.15 would pull it back while it is
    dragged."""
    row, sent = tool.sliders["AU12"], []
    row.both.send_state = lambda key=None: sent.append(key)
    for k in range(1, 21):
        row.both.value = k * 0.05
    assert (
        len(sent) == 20
        and all(row.both.value != 0 for _ in sent)
        and tool.session.edit.aus[AUS.index("AU12")] == (1.0, 1.0)
    )


def test_an_echo_is_no_hand(tool):
    """A browser that was told 0.6 answers 0.6000000000000001, maybe when the edit is already another one."""
    tool.c.emotions["contempt"].click()
    right = tool.sliders["AU14"].pair[1]
    tool.c.emotions["happiness"].click()
    edit = tool.session.edit
    right.value = 0.6000000000000001
    tool.c.intensity.value = 1.0000000000000002
    assert tool.session.edit == edit and tool.session.edit.aus[AUS.index("AU14")] == (0, 0)
    tool.sliders["AU14"].both.value = 0.25
    assert tool.session.edit.aus[AUS.index("AU14")] == (0.25, 0.25)


def test_two_threads_at_once_lose_nothing(tool):
    """JupyterLab delivers the first message of a slider in one thread and the next in another, while a picture is
    computed."""
    names, edit = ("AU01", "AU04", "AU12", "AU25", "AU26"), tool.session.editor.edit
    tool.session.editor.edit = lambda *args, **more: time.sleep(0.02) or edit(*args, **more)
    def hand(name):
        for step in range(1, 9):
            tool.sliders[name].both.value = step / 10
    threads = [threading.Thread(target=hand, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {name: pair for name, pair in zip(AUS, tool.session.edit.aus) if any(pair)} == dict.fromkeys(
        names, (0.8, 0.8)
    )
    assert all(tool.sliders[name].both.value == (0.8 if name in names else 0) for name in AUS) and not tool.error.value
    assert torch.equal(tool.session.after, edit(tool.session.portrait.subject.face, asked(tool.session.edit)))


# --- a session and its tools --------------------------------------------------------------------------------------

def test_the_widgets_follow_the_session(tool):
    tool.session.set("AU12", 0.8)
    tool.session.intensify(0.5)
    tool.session.easel.draw(3)
    assert tool.sliders["AU12"].both.value == 0.8 and tool.c.intensity.value == 0.5 and tool.c.number.value == 3
    face = tool.session.portrait.subject.face
    assert stage(tool).after == to_png(tool.session.editor.edit(face, {"AU12": 0.8}, intensity=0.5))
    tool.session.undo()
    assert tool.c.intensity.value == 1 and not tool.c.redo.disabled


def test_an_editor_shows_a_session_as_it_is(editor):
    session = Session(editor=editor, size=48)
    session.feel("contempt")
    left, right = Editor(session), Editor(session)
    assert left.session is right.session is session and left.sliders["AU12"].pair[1].value == 0.6
    before = editor.count
    slide(left, "AU04", 0.5)
    assert right.sliders["AU04"].both.value == 0.5 and stage(left).after == stage(right).after
    assert editor.count == before + 1, "one edit for both"


# --- pictures in --------------------------------------------------------------------------------------------------

def test_other_people_keep_the_edit(tool):
    slide(tool, "AU12", 0.8)
    before, edit = stage(tool).before, tool.session.edit
    tool.c.other.click()
    assert (
        stage(tool).before != before
        and tool.session.edit == edit
        and tool.c.number.value == tool.session.easel.standing.number != 12
    )
    tool.c.start.click()
    assert "expression 1" in tool.c.status.value
    tool.c.number.value = 12
    assert stage(tool).before == before


def test_upload(tool):
    slide(tool, "AU12", 0.8)
    send(tool.c.pick, "me.png", png())
    assert (
        tool.session.portrait.subject.face.shape == (3, 40, 40)
        and "me.png" in tool.c.status.value
        and tool.session.outcome.views.truth is None
        and tiles(tool).places["truth"].layout.display == "none"
    )
    assert tool.session.edit.aus[AUS.index("AU12")] == (0.8, 0.8) and not tool.error.value
    tool.c.other.click()
    assert tiles(tool).places["truth"].layout.display == ""


def scene(side=256):
    """A photograph, as far as the tools care: a drawn face left of the middle, and a dark wall."""
    from expr_course.editing.views import drawn_subject
    wide = torch.full((3, side, 2 * side), -0.6)
    wide[..., 20:20 + side] = drawn_subject(12, size=side).face
    return to_png(wide)


def test_a_photograph_is_edited_where_its_face_is(tool, tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    assert tool.c.where.layout.display == tool.c.box.layout.display == "none"
    send(tool.c.pick, "wide.png", scene())
    assert (
        not tool.error.value
        and "a face of" in tool.c.status.value
        and tool.session.portrait.where == {"face": 0}
        and tool.c.where.layout.display == ""
        and tool.c.where.label == "the face that is found"
    )
    slide(tool, "AU12", 0.8)
    first, second = run_code(tool, tmp_path)
    assert first == second == made_file(tool.session.outcome, "png") and "--face 0" in tool.session.command()
    before, after = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        for data in (tool.session.portrait.data, made_file(tool.session.outcome, "png"))
    )
    assert after.shape == before.shape and (after[:, 300:] == before[:, 300:]).all() and (after != before).any()
    tool.c.where.value = {"face": 2}
    assert "wide.png: face 2 is not one of the 1" in tool.error.value and tool.session.portrait.where == {"face": 0}
    tool.c.where.value = {"entire": True}
    assert (
        not tool.error.value
        and tool.session.portrait.where == {"entire": True}
        and "centred square" in tool.c.status.value
    )
    tool.c.where.value = "box"
    assert tool.c.box.layout.display == "" and tool.session.portrait.where == {"entire": True}
    tool.c.box.value = "80, 60, 130, 140"
    assert (
        not tool.error.value
        and tool.session.portrait.where == {"box": (80.0, 60.0, 130.0, 140.0)}
        and "--box 80 60 130 140" in tool.session.command()
    )
    tool.c.box.value = "80, sixty"
    assert "sixty" in tool.error.value and tool.session.portrait.where == {"box": (80.0, 60.0, 130.0, 140.0)}
    tool.c.other.click()
    assert tool.c.where.layout.display == "none" and not tool.error.value


def test_too_many_pixels(tool):
    buffer = io.BytesIO()
    Image.new("1", (6000, 6000)).save(buffer, "PNG")
    send(tool.c.pick, "huge.png", buffer.getvalue())
    assert "36 million pixels" in tool.error.value


def test_errors_stay_until_something_works(tool):
    slide(tool, "AU12", 0.8)
    before = stage(tool).after
    for name, data, message in (
        ("<b>notes</b>.txt", b"milk, bread", "not a picture"), ("big.png", bytes(MAX_BYTES + 1), "8.0 MB"),
        ("half.png", png()[:-30], "damaged"),
    ):
        send(tool.c.pick, name, data)
        assert (
            message in tool.error.value
            and "<b>notes" not in tool.error.value
            and stage(tool).after == before
            and "role='alert'" in tool.error.value
        )
    slide(tool, "AU12", 0.5)
    assert tool.error.value == "" and stage(tool).after != before


def test_unexpected_errors_are_shown_and_raised_and_the_last_good_state_returns(tool, monkeypatch):
    slide(tool, "AU12", 0.8)
    good = tool.session.edit
    monkeypatch.setattr(tool.session.editor, "edit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        slide(tool, "AU12", 0.5)
    assert (
        "ZeroDivisionError" in tool.error.value and tool.session.edit == good and tool.sliders["AU12"].both.value == 0.8
    )


def test_own_pictures(editor, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    for image in (tmp_path / "a.png", png(), Image.open(io.BytesIO(png())), open_image(png()).rgb):
        tool = Editor(image, editor)
        assert tool.session.portrait.subject.face.shape == (3, 40, 40) and tool.session.outcome.views.truth is None
    assert "application/vnd.jupyter.widget-view+json" in tool._repr_mimebundle_()
    with pytest.raises(ValueError, match="not a picture"):
        Editor(b"milk", editor)
    with pytest.raises(FileNotFoundError):
        Editor(editor=tmp_path)


def test_without_ipywidgets(editor, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"expr_course\[lab\]"):
        Editor(editor=editor)


def test_without_anywidget(editor, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    widget_classes.cache_clear()
    try:
        tool = Editor(editor=editor, size=48)
        slide(tool, "AU12", 0.8)
        assert (
            tool.display.stage.pictures[1].value == to_png(tool.session.after) != tool.display.stage.pictures[0].value
        )
        tool.c.save["png"].click()
        assert "person-12-edited.png" in tool.display.stage.link.value and not tool.error.value
        tool.c.code.value = True
        assert tool.snippets[1].value == tool.session.command()
    finally:
        widget_classes.cache_clear()


# --- out ----------------------------------------------------------------------------------------------------------

def test_files(tool):
    out = files(tool)
    slide(tool, "AU12", 0.8)
    for kind in ("png", "gif", "mp4", "input"):
        tool.c.save[kind].click()
    assert [name for name, _ in out] == [
        "person-12-edited.png", "person-12-edited.gif", "person-12-edited.mp4", "person-12.png",
    ] and not tool.error.value
    data = [data for _, data in out]
    picture, film = Image.open(io.BytesIO(data[0])), Image.open(io.BytesIO(data[1]))
    assert "AU12 +0.80" in picture.text["Comment"] and b"AU12 +0.80" in film.info["comment"] and film.n_frames == 24
    assert (
        np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(stage(tool).after))))
        and data[3] == stage(tool).before
    )
    with av.open(io.BytesIO(data[2])) as film:
        assert "AU12 +0.80" in film.metadata["comment"] and sum(1 for _ in film.decode(video=0)) == 48


def run_code(tool, folder):
    """(bytes from the Python code, bytes from the command line) of what the tool says, with this tool's editor for
    both."""
    before = tool.session.portrait.before
    assert before == "" or before in tool.session.python()
    with contextlib.chdir(folder):
        if not before:
            Path(tool.session.portrait.name).write_bytes(tool.session.portrait.data)
        exec(tool.session.python(), {"editor": tool.session.editor})
        first = Path("edited.png").read_bytes()
        os.remove("edited.png")
        original = ExpressionEditor.from_pretrained
        ExpressionEditor.from_pretrained = classmethod(lambda cls, *a: tool.session.editor)
        try:
            assert main(shlex.split(tool.session.command(), comments=True)[1:]) == 0
        finally:
            ExpressionEditor.from_pretrained = original
        return first, Path("edited.png").read_bytes()


@pytest.mark.parametrize("moves", [{}, {"AU12": 0.85, "AU04": -0.3}], ids=["nothing", "an edit"])
@pytest.mark.parametrize("own", [False, True], ids=["drawn", "upload"])
def test_copy_as_code_reproduces_the_saved_file(tool, tmp_path, moves, own):
    if own:
        send(tool.c.pick, "me and my cat.png", png((700, 600)))
    for name, value in moves.items():
        slide(tool, name, value)
    tool.sliders["AU14"].link.click()
    slide(tool, "AU14L", 0.35 if moves else 0)
    tool.c.intensity.value = 1.25
    first, second = run_code(tool, tmp_path)
    assert first == second == made_file(tool.session.outcome, "png")
    assert tool.snippets_box.layout.display == "none" and not tool.snippets and "your editor" in tool.session.command()
    tool.c.code.value = True
    assert tool.snippets_box.layout.display == "" and [s.text for s in tool.snippets] == [
        tool.session.python(),
        tool.session.command(),
    ]
    slide(tool, "AU26", 0.5)
    assert [s.text for s in tool.snippets] == [
        tool.session.python(),
        tool.session.command(),
    ] and "AU26" in tool.session.command()


def test_code_of_weights_in_a_folder():
    from expr_course.editing.expression_editor import BUNDLED
    from expr_course.training.weights import WEIGHTS
    tool = Editor(editor=WEIGHTS / BUNDLED, size=48)
    assert (
        f"--weights {WEIGHTS / BUNDLED}" in tool.session.command()
        and f"from_pretrained({str(WEIGHTS / BUNDLED)!r})" in tool.session.python()
    )


# --- in a running loop, as in a kernel ----------------------------------------------------------------------------

def test_a_burst_of_changes_is_one_edit(tool):
    async def run():
        before = tool.session.editor.count
        for k in range(1, 21):
            slide(tool, "AU12", k / 20)
        for name in ("AU01", "AU02", "AU04"):
            slide(tool, name, 0.5)
        # remembered, not yet computed
        assert tool.session.editor.count == before and tool.session.edit.aus[AUS.index("AU12")] == (1.0, 1.0)
        await asyncio.sleep(0.05)
        assert tool.session.editor.count == before + 1 and "views" not in vars(tool.session.outcome)
        await asyncio.sleep(0.5)
        assert "views" in vars(tool.session.outcome) and tool.session.editor.count == before + 1
        assert stage(tool).after == to_png(tool.session.after)
        slide(tool, "AU12", 0.1)
        assert (
            tool.settle() is tool
            and tool.session.outcome.views.after is tool.session.after
            and not tool.soon.waiting
            and not tool.later.waiting
        )
    asyncio.run(run())


def test_an_error_is_not_wiped_away_by_late_details(tool):
    async def run():
        slide(tool, "AU12", 0.8)
        await asyncio.sleep(0.03)
        send(tool.c.pick, "notes.txt", b"milk")
        await asyncio.sleep(0.5)
        assert "not a picture" in tool.error.value and "views" in vars(tool.session.outcome)
    asyncio.run(run())


def test_a_failing_edit_in_the_loop_goes_back(tool):
    async def run():
        slide(tool, "AU12", 0.8)
        tool.settle()
        edit, tool.session.editor.edit = (
            tool.session.editor.edit,
            lambda *_, **__: (_ for _ in ()).throw(ValueError("cannot be")),
        )
        slide(tool, "AU12", 0.3)
        await asyncio.sleep(0.3)
        assert "cannot be" in tool.error.value and tool.sliders["AU12"].both.value == 0.8
        tool.session.editor.edit = edit
        slide(tool, "AU12", 0.4)
        await asyncio.sleep(0.3)
        assert tool.error.value == "" and tool.session.edit.aus[AUS.index("AU12")] == (0.4, 0.4)
    asyncio.run(run())


def test_nothing_is_written_to_disk(tool, tmp_path):
    files(tool)
    opened = []
    sys.addaudithook(
        lambda event, args: (
            opened.append(args)
            if recording and event == "open" and args[1] and any(m in str(args[1]) for m in "wax+")
            else None
        )
    )
    recording = [1]
    slide(tool, "AU12", 0.8)
    send(tool.c.pick, "me.png", png())
    for kind in ("png", "gif", "mp4", "input"):
        tool.c.save[kind].click()
    recording.clear()
    assert not opened and not tool.error.value
