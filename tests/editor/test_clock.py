"""The editor's clock: the newest state wins, and nothing queues."""
import asyncio
import threading
import time

import pytest

from expr_course.editor.clock import Newest


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
