"""Faces drawn per second, labels and landmarks included.

    make bench                                              the budgets, which are for two idle cores
    python tests/benchmarks/bench_faces.py                  a table: sizes, batches, threads
    python tests/benchmarks/bench_faces.py --json out.json  the same as a file (- for standard output)
"""
import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import pytest

BATCH, SECONDS = 32, 5
BUDGET = {64: 155, 128: 43}  # faces a second: half of what the plain faces of version 0.9 reached


def faces_per_second(size, batch=BATCH, threads=2, seconds=SECONDS, grad=False):
    """Render the same batch for some seconds. Two rates: by the clock, and by processor time (steadier on a busy
    machine)."""
    import torch
    from expr_course.action_units import sample_aus
    from expr_course.faces import render, sample_identities

    torch.set_num_threads(min(threads, os.cpu_count() or 1))
    people, aus = sample_identities(batch, seed=0), sample_aus(batch, seed=0).requires_grad_(grad)
    with torch.set_grad_enabled(grad):
        render(people, aus, size=size)  # the first call is slower
        clock, used, faces = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - clock < seconds:
            sample = render(people, aus, size=size)
            if grad:
                sample.image.sum().backward()
            faces += batch
        clock, used = time.perf_counter() - clock, time.process_time() - used
    return {
        "size": size, "batch": batch, "threads": torch.get_num_threads(), "gradients": grad,
        "faces_per_second": round(faces / clock, 1), "faces_per_cpu_second": round(faces / used, 1),
    }


@pytest.mark.parametrize("size", BUDGET)
def test_faces_per_second(size):
    rates = {threads: faces_per_second(size, threads=threads)["faces_per_second"] for threads in (1, 2)}
    said = ", ".join(f"{rate:.0f} with {threads} thread{'s' * (threads > 1)}" for threads, rate in rates.items())
    print(f"\n{size} px, faces/s: {said} (at least {BUDGET[size]} on two idle cores)")
    assert max(rates.values()) >= BUDGET[size]


def table(results):
    rows = ["size  batch  threads  gradients  faces/s  faces per CPU second  budget"]
    for r in results:
        budget = BUDGET.get(r["size"], "") if r["batch"] == BATCH and not r["gradients"] else ""
        rows.append(
            f"{r['size']:4}  {r['batch']:5}  {r['threads']:7}  {'yes' if r['gradients'] else 'no':>9}  "
            f"{r['faces_per_second']:7.1f}"
            f"  {r['faces_per_cpu_second']:20.1f}  {budget:>6}"
        )
    return "\n".join(rows)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Faces drawn per second")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--gradients", action="store_true", help="measure with gradients as well")
    parser.add_argument(
        "--json", metavar="FILE", help="write the results here (- for standard output) instead of a table"
    )
    options = parser.parse_args(arguments)
    ways = [False, True] if options.gradients else [False]
    results = [faces_per_second(size, options.batch, threads, options.seconds, grad)
               for grad in ways for size in options.sizes for threads in options.threads]
    if not options.json:
        print(table(results))
        return
    import torch
    from expr_course.faces import VERSION
    where = {"faces": VERSION, "torch": torch.__version__, "python": platform.python_version(), "cores": os.cpu_count()}
    text = json.dumps(where | {"results": results}, indent=1)
    print(text) if options.json == "-" else Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
