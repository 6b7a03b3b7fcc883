"""A session at the editor, without a widget: edit, history, pictures in, files out."""
import contextlib
import io
import subprocess
import sys

import pytest
import torch
from lessons import ROOT
from PIL import Image
from toy_editor import Counting, network, png

from expr_course.action_units import EMOTIONS, au_vector, emotion_vector
from expr_course.data.images import open_image
from expr_course.editing import ExpressionEditor
from expr_course.editing.views import drawn_subject
from expr_course.editor.session import MIME, Easel, Outcome, Session, known_aus, made_file
from expr_course.editor.state import Edit, asked, moved
from expr_course.editor.views import drawn_portrait
from expr_course.photos.command import main
from expr_course.plots import to_png


@pytest.fixture
def editor():
    return Counting(network(), size=32, device="cpu")


@pytest.fixture
def session(editor):
    return Session(editor=editor, size=48)


class Judge(torch.nn.Module):
    """Reads 0.25 everywhere."""
    size = 32

    def forward(self, image):
        return torch.zeros(len(image), 17, 2) + 0.25


# --- outcomes -----------------------------------------------------------------------------------------------------

def test_an_outcome_computes_what_is_asked_for_and_once(editor):
    outcome = Outcome(editor, drawn_portrait(3, 5, 48), moved(Edit(), "AU12", 0.8))
    assert editor.count == editor.parsed == 0 and outcome.milliseconds is None
    alone = ExpressionEditor(editor.generator, size=32, device="cpu")
    for _ in range(2):
        assert outcome.views.after is outcome.after and outcome.views.truth is not None
        assert torch.equal(outcome.after, alone.edit(outcome.portrait.subject.face, {"AU12": 0.8}))
        assert editor.count == 1 and outcome.milliseconds > 0
        assert outcome.labels.shape == (48, 48) and editor.parsed == 1
    assert outcome.reading.obtained is None and editor.count == 1


def test_a_part_that_failed_is_tried_again(editor, monkeypatch):
    outcome = Outcome(editor, drawn_portrait(3, 0, 48), Edit())
    with monkeypatch.context() as patch:
        patch.setattr(editor, "parse", lambda image: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _ = outcome.labels
    assert outcome.labels.shape == (48, 48)


def test_files(editor):
    outcome = Outcome(editor, drawn_portrait(3, 0, 48), moved(Edit(), "AU12", 0.8))
    data = {kind: made_file(outcome, kind) for kind in MIME}
    assert "AU12 +0.80" in Image.open(io.BytesIO(data["png"])).text["Comment"]
    assert data["gif"][:4] == b"GIF8" and data["mp4"][4:8] == b"ftyp"
    with pytest.raises(ValueError, match="'bmp'.*png, gif, mp4"):
        made_file(outcome, "bmp")


# --- the easel ----------------------------------------------------------------------------------------------------

def test_drawn_people():
    told = []
    easel = Easel(48, 7, changed=lambda: told.append(1))
    easel.draw()
    easel.draw_another_expression()
    assert (easel.standing.number, easel.standing.expression, len(told)) == (7, 1, 2)
    easel.draw(7, 63)
    easel.draw_another_expression()
    assert easel.standing.expression == 1, "after the last comes the first that is not neutral"
    easel.draw_another()
    assert easel.standing.number != 7 and easel.standing.expression == 0 and easel.portrait.subject.person is not None
    assert Easel(48, seed=3).stranger().text == Easel(48, seed=3).stranger().text and easel.stranger().aus.sum() > 1


def test_pictures_and_where_their_face_is(tmp_path):
    easel = Easel(48)
    easel.draw(5, 4)
    before = easel.standing
    easel.elsewhere({"entire": True})
    assert easel.standing is before, "a drawn person has one face"
    (tmp_path / "a.png").write_bytes(png())
    easel.open(tmp_path / "a.png")
    assert easel.portrait.data == png() and easel.standing[1:3] == (5, 4)
    easel.elsewhere({"box": (0, 0, 20, 20)})
    assert easel.portrait.where == {"box": (0, 0, 20, 20)} and easel.portrait.name == str(tmp_path / "a.png")
    kept = easel.standing
    for name, data in (("notes.txt", b"milk"), ("big.png", bytes(9_000_000))):
        with pytest.raises(ValueError, match=name):
            easel.upload(name, data)
        assert easel.standing is kept, "what cannot be read does not come in"
    easel.draw()
    assert easel.standing.read is None and easel.standing.number == 5


# --- the session --------------------------------------------------------------------------------------------------

def test_set_undo_redo(session, editor):
    assert session.edit == Edit() and to_png(session.after) == session.portrait.data
    session.set("AU12", 0.8)
    smile = session.outcome
    assert session.outcome is smile and torch.allclose(asked(session.edit), au_vector({"AU12": 0.8}))
    session.set("AU04L", -0.3)
    assert session.edit.apart == {"AU04"} and session.outcome is not smile
    session.undo()
    assert torch.equal(session.after, smile.after)
    session.redo()
    assert session.edit.aus[2] == (-0.3, 0.0) and not session.history.future
    session.reset()
    assert session.edit == Edit() and len(session.history.past) == 3
    for name, value in (("AU13", 0.1), ("AU12", 2.0)):
        with pytest.raises(ValueError):
            session.set(name, value)
    assert session.edit == Edit()


def test_links_and_intensity(session):
    session.set("AU12", 0.8)
    session.switch_link("AU12")
    session.set("AU12R", 0.2)
    assert session.edit.aus[8] == (0.8, 0.2)
    session.switch_link("AU12")
    assert session.edit.aus[8] == (0.5, 0.5) and not session.edit.apart
    session.intensify(1.25)
    face = session.portrait.subject.face
    assert torch.equal(session.after, session.editor.edit(face, {"AU12": 0.5}, intensity=1.25))


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_feelings_are_asked_for_by_subtraction(session, emotion):
    session.easel.draw(4, 9)
    session.feel(emotion)
    assert torch.allclose(session.portrait.subject.aus + asked(session.edit), emotion_vector(emotion), atol=0.0051)


def test_borrowing(session, editor):
    donor = drawn_subject(3, 9, 48)
    session.borrow(donor)
    assert torch.allclose(asked(session.edit), donor.aus, atol=0.0051)
    session.easel.open(png())
    edit = session.edit
    with pytest.raises(ValueError, match="no estimator"):
        session.borrow(session.portrait.subject)
    assert session.edit == edit and known_aus(editor, session.portrait.subject) is None
    judged = ExpressionEditor(editor.generator, estimator=Judge(), size=32, device="cpu")
    other = Session(png(), judged)
    other.borrow(donor)
    assert torch.allclose(0.25 + asked(other.edit), donor.aus, atol=0.0051)


def test_watchers_are_told_of_everything_and_state_brings_all_back(session):
    told = []
    session.watchers.append(lambda: told.append(session.edit))
    session.set("AU12", 0.8)
    kept, picture = session.state, session.after
    session.easel.draw(5)
    session.feel("anger")
    session.undo()
    session.easel.open(png())
    assert len(told) == 5 and session.portrait.subject.person is None
    session.state = kept
    assert len(told) == 5 and session.state == kept and session.after is picture
    assert session.easel.standing.number == 12 and len(session.history.past) == 1


def test_save(session, tmp_path):
    session.set("AU12", 0.8)
    for kind in MIME:
        path = session.save(tmp_path / f"face.{kind}")
        assert path.read_bytes()[:4] == made_file(session.outcome, kind)[:4] and path == tmp_path / f"face.{kind}"
    for name in ("face.bmp", "face"):
        with pytest.raises(ValueError, match="png, gif, mp4"):
            session.save(tmp_path / name)
    session.easel.open(tmp_path / "face.png")
    before = (tmp_path / "face.png").read_bytes()
    with pytest.raises(ValueError, match="overwritten"):
        session.save(tmp_path / "face.png")
    assert (tmp_path / "face.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.gif", "face.mp4", "face.png"]


@pytest.mark.parametrize("picture", [False, True], ids=["drawn", "a file"])
def test_code_makes_the_same_file(tmp_path, picture):
    (tmp_path / "me.png").write_bytes(png((90, 70)))
    with contextlib.chdir(tmp_path):
        session = Session("me.png" if picture else None, size=48)
        session.set("AU12", 0.8)
        session.intensify(1.25)
        saved = session.save("saved.png").read_bytes()
        exec(session.python(), {})
        assert (tmp_path / "edited.png").read_bytes() == saved
        (tmp_path / "edited.png").unlink()
        assert main(session.command().split()[1:]) == 0
        assert (tmp_path / "edited.png").read_bytes() == saved


def test_what_cannot_be_opened(editor, tmp_path):
    with pytest.raises(ValueError, match="not a picture"):
        Session(b"milk", editor)
    with pytest.raises(FileNotFoundError):
        Session(editor=tmp_path)
    assert torch.equal(
        Session(png(), editor).portrait.subject.face, Session(open_image(png()).rgb, editor).portrait.subject.face
    )


def test_no_widget_is_needed():
    code = "import sys; sys.modules['ipywidgets'] = None; sys.modules['anywidget'] = None\n"
    code += (
        "from expr_course.editor import Session; session = Session(size=32); session.set('AU12', 0.8); session.undo()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
