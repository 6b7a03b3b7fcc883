"""The editor's clock and its own widgets, without a browser."""
import asyncio
import sys
import threading
import time
from datetime import datetime, UTC

import pytest

from expr_course.action_units import AUS
from expr_course.editor.panel import Row, slider_panel
from expr_course.editor.stage import (LiveStage, Newest, PlainStage, make_pick, make_snippet, make_stage,
                                      widget_classes)
from expr_course.editor.state import Edit, moved, opened

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


# --- the clock ----------------------------------------------------------------------------------------------------

def test_without_a_loop_it_acts_at_once():
    done = []
    clock = Newest(lambda: done.append(1), 1.0, 5.0)
    clock.ask()
    assert done == [1] and not clock.waiting
    with pytest.raises(ZeroDivisionError):
        Newest(lambda: 1 / 0, guard=lambda action: None).ask()


def test_a_burst_is_one_action_on_the_newest_state():
    async def run():
        state, seen = [0], []
        clock = Newest(lambda: seen.append(state[0]))
        for k in range(100):
            state[0] = k
            clock.ask()
        assert clock.waiting and not seen
        await asyncio.sleep(0.01)
        assert seen == [99] and not clock.waiting
        await asyncio.sleep(0.01)
        return seen
    assert asyncio.run(run()) == [99]


@pytest.mark.parametrize("cost", [0.0, 0.02, 0.05])
def test_the_last_state_wins_and_nothing_queues(cost):
    """A hand that sends every 5 ms, and an action that takes longer: never more than one action behind, and it ends
    where the hand ends."""
    async def run():
        state, seen = [0], []

        def act():
            time.sleep(cost)
            seen.append(state[0])
        clock = Newest(act)
        start = time.perf_counter()
        for k in range(1, 61):
            state[0] = k
            clock.ask()
            await asyncio.sleep(0.005)
        stopped = time.perf_counter()
        while clock.waiting:
            await asyncio.sleep(0.001)
        return seen, stopped - start, time.perf_counter() - stopped
    seen, moving, late = asyncio.run(run())
    assert seen[-1] == 60 and seen == sorted(set(seen))
    assert late < cost + 0.2 and len(seen) <= moving / max(cost, 1e-3) + 2


def test_pause_and_patience():
    async def run(pause, patience):
        done = []
        clock = Newest(lambda: done.append(time.perf_counter()), pause, patience)
        for _ in range(20):
            clock.ask()
            await asyncio.sleep(0.02)
        await asyncio.sleep(pause + 0.1)
        return len(done)
    assert asyncio.run(run(0.15, 10.0)) == 1  # waits for the hand to rest
    assert asyncio.run(run(0.15, 0.1)) >= 2   # but not for ever


def test_a_busy_loop_does_not_hold_up_the_other():
    """Asked first where a long cell begins, then from the thread in which JupyterLab's widgets speak."""
    done, asked, over = [], threading.Event(), threading.Event()
    clock = Newest(lambda: done.append(over.is_set()))

    async def cell():
        clock.ask()
        asked.set()
        over.wait(30)     # the loop can do nothing else

    async def widget():
        clock.ask()
        for _ in range(200):
            if done: break
            await asyncio.sleep(0.01)
    thread = threading.Thread(target=lambda: asyncio.run(cell()))
    thread.start()
    asked.wait(30)
    asyncio.run(widget())
    over.set()
    thread.join(30)
    assert done == [False]


def test_now_cancel_and_guard():
    async def run():
        done, guarded = [], []
        clock = Newest(lambda: done.append(1), 5, 5, guard=lambda action: (guarded.append(1), action()))
        clock.now()
        assert not done
        clock.ask()
        clock.now()
        assert done == guarded == [1] and not clock.waiting
        clock.ask()
        clock.cancel()
        clock.now()
        await asyncio.sleep(0.01)
        assert done == [1]
    asyncio.run(run())


# --- widgets ------------------------------------------------------------------------------------------------------

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


# --- sliders ------------------------------------------------------------------------------------------------------

def hears(widget, action, least):
    """As a tool does it (lesson 02p), without its lock."""
    widget.observe(lambda change: abs(change["new"] - change["old"]) > least and action(widget.value), "value")


def test_rows_follow_edits():
    moves = []
    rows, _ = slider_panel(w, True, hears, lambda *a: moves.append(a), moves.append)
    assert list(rows) == list(AUS)
    row = rows["AU12"]
    assert (
        row.both.tooltip.startswith("the mouth corners go up")
        and "FACS E" in row.both.tooltip
        and row.both.description == "AU12 lip corner puller"
    )
    row.follow(moved(Edit(), "AU12", 0.4))
    assert moves == [("AU12", 0.4)] and row.both.value == 0.4
    row.follow(moved(opened(Edit(), "AU12"), "AU12R", 0.7))
    left, right = row.pair
    assert row.widget.children[0] is row.inside and (left.value, right.value) == (0, 0.7) and row.link.icon == "unlink"
    left.value = -0.5
    assert moves[-1] == ("AU12L", -0.5)
    row.follow(Edit())
    assert row.widget.children[0] is row.both and row.both.value == 0 and row.link.icon == "link"
    row.link.click()
    assert moves[-1] == "AU12"


def test_without_sides_there_is_no_link():
    row = Row(w, "AU12", False, hears, lambda *a: None, lambda *a: None)
    assert row.link.disabled
