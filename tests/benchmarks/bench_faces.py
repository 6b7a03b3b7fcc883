"""Faces drawn per second, labels and landmarks included; the budgets are for two idle cores: make bench."""
import os
import time

import pytest

BATCH, SECONDS = 32, 5


@pytest.mark.parametrize("size, at_least", [(64, 200), (128, 60)])
def test_faces_per_second(size, at_least):
    import torch
    from expr_course.action_units import sample_aus
    from expr_course.faces import render, sample_identities

    torch.set_num_threads(min(2, os.cpu_count() or 1))
    people, aus = sample_identities(BATCH, seed=0), sample_aus(BATCH, seed=0)
    with torch.inference_mode():
        render(people, aus, size=size)  # the first call is slower
        start, faces = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            render(people, aus, size=size)
            faces += BATCH
        rate = faces / (time.perf_counter() - start)
    print(f"\n{size} px: {rate:.0f} faces/s (at least {at_least} on two idle cores)")
    assert rate >= at_least
