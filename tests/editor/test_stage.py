"""The editor's own widgets, without a browser, with and without anywidget."""
import sys
from datetime import UTC, datetime

import pytest

from expr_course.editor.stage import LiveStage, PlainStage, make_pick, make_snippet, make_stage, widget_classes

w = pytest.importorskip("ipywidgets")


@pytest.fixture(params=["anywidget", "plain"])
def kind(request, monkeypatch):
    """With and without anywidget."""
    widget_classes.cache_clear()
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "anywidget", None)
    else:
        pytest.importorskip("anywidget")
    yield request.param
    widget_classes.cache_clear()


def test_stage(kind):
    keys = []
    stage = make_stage(w, keys.append)
    assert isinstance(stage, LiveStage if kind == "anywidget" else PlainStage)
    stage.show(b"one", b"two")
    stage.mode = "wipe"
    if kind == "anywidget":
        assert (stage.widget.before, stage.widget.after, stage.widget.mode) == (b"one", b"two", "wipe")
        sent = []
        stage.widget.send = lambda message, buffers=None: sent.append((message, buffers))
        stage.hand_over("a.png", b"data", "image/png")
        assert sent == [({"kind": "file", "name": "a.png", "type": "image/png"}, [b"data"])]
        stage.widget._handle_custom_msg({"kind": "undo"}, [])
        assert keys == ["undo"]
    else:
        assert [picture.value for picture in stage.pictures] == [b"one", b"two"]
        stage.hand_over("<a>.png", b"data", "image/png")
        assert (
            "base64,ZGF0YQ==" in stage.link.value
            and "<a>.png" not in stage.link.value
            and "&lt;a&gt;.png" in stage.link.value
        )


def test_pick(kind):
    took, refused = [], []
    pick = make_pick(w, "choose", "tip", 10, lambda *a: took.append(a), lambda *a: refused.append(a))
    if kind == "anywidget":
        pick._handle_custom_msg({"kind": "file", "name": "a.png", "size": 4}, [memoryview(b"data")])
        pick._handle_custom_msg({"kind": "refused", "name": "b.png", "size": 400}, [])
        pick._handle_custom_msg({"kind": "something"}, [])
    else:
        for name, data in (("a.png", b"data"), ("b.png", b"x" * 400)):
            pick.value = (
                {
                    "name": name, "type": "", "size": len(data), "content": memoryview(data),
                    "last_modified": datetime.now(UTC),
                },
            )
            assert pick.value == ()
    assert took == [("a.png", b"data")] and refused == [("b.png", 400)]


def test_snippet(kind):
    snippet = make_snippet(w)
    snippet.text = "print(1)"
    assert snippet.text == "print(1)" and (kind == "anywidget" or snippet.value == "print(1)")


def test_no_address_in_the_javascript():
    from expr_course.editor import stage as editor_stage
    for text in (editor_stage.STAGE_JS, editor_stage.PICK_JS, editor_stage.SNIPPET_JS, editor_stage.STAGE_CSS):
        assert "http" not in text and "import " not in text
