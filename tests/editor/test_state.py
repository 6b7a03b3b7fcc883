"""What the editor remembers: edits as values, links, presets, history, and code that reproduces an edit byte for
byte."""
import os
import shlex
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lessons import ROOT

from expr_course.action_units import AUS, EMOTIONS, au_vector, emotion_vector, merge_sides, sample_aus
from expr_course.editor.state import (DRAW, SECONDS, STEPS, Edit, History, adopted, as_command, as_python, asked,
                                      borrowed, did, felt, linked, moved, named, opened, redone, stretched, undone)
from expr_course.photos.command import main

VALUES = st.integers(-100, 100).map(lambda k: k / 100)
NAMES = st.sampled_from([au + side for au in AUS for side in ("", "L", "R")])
EDITS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(lambda moves: moved_by(moves))


def moved_by(moves):
    edit = Edit()
    for name, value in moves:
        edit = moved(edit, name, value)
    return edit


# --- edits --------------------------------------------------------------------------------------------------------

def test_rest():
    assert (
        not asked(Edit()).any()
        and asked(Edit()).shape == (17, 2)
        and Edit().intensity == 1
        and named(Edit()) == {"AU12": 0.0}
    )


@given(EDITS, NAMES, VALUES)
def test_moved(edit, name, value):
    new = moved(edit, name, value)
    sides = {"L": [0], "R": [1]}.get(name[4:], [0, 1])
    row = AUS.index(name[:4])
    want = asked(edit)
    want[row, sides] = value
    assert torch.equal(asked(new), want) and new.intensity == edit.intensity
    assert new.apart == edit.apart | ({name[:4]} if name[4:] else set())
    assert moved(new, name, value) == new and hash(new) == hash(moved(edit, name, value))


@given(EDITS, st.sampled_from(AUS))
def test_open_and_link(edit, name):
    assert asked(opened(edit, name)).equal(asked(edit)) and name in opened(edit, name).apart
    closed = linked(edit, name)
    left, right = closed.aus[AUS.index(name)]
    assert left == right == pytest.approx(sum(edit.aus[AUS.index(name)]) / 2, abs=0.0051) and name not in closed.apart
    assert linked(opened(closed, name), name) == closed
    others = [k for k, au in enumerate(AUS) if au != name]
    assert asked(closed)[others].equal(asked(edit)[others])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda e: moved(e, "AU12", 1.01), "AU12 = 1.01 is outside -1 to 1"),
        (lambda e: moved(e, "AU12", float("nan")), "outside"), (lambda e: moved(e, "AU13", 0), "unknown"),
        (lambda e: stretched(e, 1.26), "outside 0 to 1.25"), (lambda e: opened(e, "AU12L"), "parse_au"),
        (lambda e: felt(e, "joy"), "unknown emotion"),
    ],
)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change(Edit())


def test_adopted_clips_rounds_and_opens():
    vector = torch.zeros(17, 2)
    vector[8], vector[2, 0], vector[0] = torch.tensor([1.25, 1.25]), -0.333333, -1e-9
    edit = adopted(stretched(Edit(), 0.5), vector)
    assert (
        edit.aus[8] == (1.0, 1.0) and edit.aus[2] == (-0.33, 0.0) and edit.apart == {"AU04"} and edit.intensity == 0.5
    )
    assert str(edit.aus[0]) == "(0.0, 0.0)"  # not -0.0
    assert adopted(Edit(), vector, per_side=False).apart == frozenset() and adopted(Edit(), vector, per_side=False).aus[
        2
    ] == (-0.17, -0.17)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_felt(emotion):
    assert torch.allclose(asked(felt(Edit(), emotion)), emotion_vector(emotion))
    known = sample_aus(1, 3)[0]
    assert torch.allclose(known + asked(felt(Edit(), emotion, known)), emotion_vector(emotion), atol=0.0051)


@given(st.integers(0, 200), st.integers(0, 200))
def test_borrowed(a, b):
    source, target = sample_aus(1, a)[0], sample_aus(1, b)[0]
    assert torch.allclose(source + asked(borrowed(Edit(), source, target)), target, atol=0.0051)
    even = borrowed(Edit(), source, target, per_side=False)
    assert not even.apart and torch.allclose(merge_sides(source) + asked(even)[:, 0], merge_sides(target), atol=0.0051)


# --- history ------------------------------------------------------------------------------------------------------

@given(st.lists(EDITS, max_size=12))
def test_undo_and_redo_are_exact(edits):
    history, seen = History(), [Edit()]
    for edit in edits:
        history = did(history, edit)
        if edit != seen[-1]:
            seen.append(edit)
    assert history.now == seen[-1] and list(history.past) == seen[:-1]
    back, walked = history, [history]
    while back.past:
        walked.append(back := undone(back))
    assert [h.now for h in walked] == seen[::-1] and undone(back) == back
    for earlier in reversed(walked[:-1]):
        back = redone(back)
        assert back.now == earlier.now and back.past == earlier.past and back.future == earlier.future
    assert redone(back) == back


@given(st.lists(st.tuples(st.sampled_from(["undo", "redo", "do"]), EDITS), max_size=20))
def test_undo_then_redo_changes_nothing(walk):
    history = History()
    for action, edit in walk:
        history = {"undo": undone, "redo": redone}[action](history) if action != "do" else did(history, edit)
        if history.past:
            assert redone(undone(history))[:3] == history[:3]
        if history.future:
            assert undone(redone(history))[:3] == history[:3]


def test_a_new_change_forgets_what_was_undone():
    history = did(did(History(), moved(Edit(), "AU12", 0.5)), moved(Edit(), "AU12", 0.8))
    assert did(undone(history), moved(Edit(), "AU04", 0.1)).future == ()
    assert did(undone(history), undone(history).now) == undone(history)  # nothing changed: nothing is forgotten


def test_a_drag_is_one_step():
    history = History()
    for k in range(1, 11):
        history = did(history, moved(history.now, "AU12", k / 10), "AU12", k * 0.1)
    assert len(history.past) == 1 and undone(history).now == Edit()
    later = did(history, moved(history.now, "AU12", 0.2), "AU12", 1 + SECONDS)
    assert len(later.past) == 2 and undone(later).now == history.now
    other = did(history, moved(history.now, "AU04", 0.2), "AU04", 1.1)
    assert len(other.past) == 2 and len(did(other, moved(other.now, "AU12", 0), "AU12", 1.2).past) == 3
    after_undo = did(undone(history), moved(Edit(), "AU12", 0.4), "AU12", 1.1)
    assert after_undo.past == (Edit(),)


def test_a_drag_back_to_its_start_is_no_step():
    history = did(did(History(), moved(Edit(), "AU12", 0.5), "AU12", 0), Edit(), "AU12", 0.1)
    assert history.now == Edit() and history.past == ()


def test_history_is_bounded():
    history = History()
    for k in range(STEPS + 50):
        history = did(history, moved(Edit(), "AU12", (k % 99 + 1) / 100))
    assert len(history.past) == STEPS


# --- code ---------------------------------------------------------------------------------------------------------

def in_namespace(code):
    """Names that the code's last call was given."""
    calls = []
    lines = (
        code.replace("from expr_course.photos.command import edit_photo_file", "")
        .replace("from expr_course.editing import ExpressionEditor", "")
        .replace("from pathlib import Path", "")
    )
    fake = type("E", (), {"from_pretrained": staticmethod(lambda *a: a)})
    exec(lines, {"edit_photo_file": lambda *a, **k: calls.append((a, k)), "ExpressionEditor": fake, "Path": str})
    return calls[0]


@given(EDITS, st.integers(0, 125), st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12))
def test_code_says_what_the_edit_is(edit, percent, name):
    edit = stretched(edit, percent / 100)
    (editor, source, target, values), more = in_namespace(as_python(edit, name))
    assert (editor, source, target, more.pop("intensity", 1.0), more) == (
        (), name, "edited.png", edit.intensity, {"entire": True},
    )
    assert torch.equal(au_vector(values, relative=True), asked(edit))
    command, *words = shlex.split(as_command(edit, name))
    assert command == "expr-edit" and words[:2] == [name, "edited.png"]
    assert "--whole" in words[2:]
    told = dict(word.split("=") for word in words[2:] if "=" in word)
    assert torch.equal(au_vector({k: float(v) for k, v in told.items()}, relative=True), asked(edit)) and told
    assert (float(words[words.index("--intensity") + 1]) if "--intensity" in words else 1.0) == edit.intensity


@pytest.mark.parametrize(
    "where, flags", [({"face": 2}, ["--face", "2"]), ({"box": (1.5, 2, 30, 40)}, ["--box", "1.5", "2", "30", "40"])]
)
def test_code_says_where_the_face_is(where, flags):
    assert (
        in_namespace(as_python(Edit(), "a.png", where=where))[1] == where
        and shlex.split(as_command(Edit(), "a.png", where=where))[4:] == flags
    )


def test_code_names_weights():
    assert in_namespace(as_python(Edit(), "a.png", weights="my folder"))[0][0] == ("my folder",)
    assert shlex.split(as_command(Edit(), "a.png", weights="my folder"))[-2:] == ["--weights", "my folder"]


def test_code_with_an_editor_of_ones_own_loads_none():
    code, command = as_python(Edit(), "a.png", own=True), as_command(Edit(), "a.png", own=True)
    assert "from_pretrained" not in code and "ExpressionEditor" not in code and "# editor: the one you gave\n" in code
    assert command == "# with the weights of your editor: --weights FOLDER\n" + as_command(Edit(), "a.png")


@pytest.mark.parametrize(
    "edit", [Edit(), stretched(moved(moved(Edit(), "AU12L", 0.85), "AU04", -0.3), 1.25)], ids=["nothing", "an edit"]
)
def test_code_and_command_give_the_same_bytes(edit, tmp_path):
    code = as_python(edit, "person-4.png", before=DRAW.format(number=4, expression=7, size=64, name="person-4.png"))
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    words = shlex.split(as_command(edit, str(tmp_path / "person-4.png"), str(tmp_path / "again.png")))
    assert main(words[1:]) == 0
    assert (tmp_path / "edited.png").read_bytes() == (tmp_path / "again.png").read_bytes()
