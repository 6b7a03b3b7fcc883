"""Pictures parsed per second, and the memory that it takes.

    make bench                                                 the aim, which is for two idle cores
    python tests/benchmarks/bench_parsing.py                   a table: networks, sizes, threads
    python tests/benchmarks/bench_parsing.py --json out.json   the same as a file (- for standard output)
"""
import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

SIZES, SECONDS = (128, 256, 512), 4
AIM = {("bisenet-slim", 256): 25}  # pictures a second
NETWORKS = {
    "unet-slim": ("ParsingUNet", dict(width=16)), "unet-full": ("ParsingUNet", dict(width=64)),
    "bisenet-slim": ("BiSeNet", dict(width=28, stride=8)), "bisenet-slim-fine": ("BiSeNet", dict(width=28, stride=2)),
    "bisenet-full": ("BiSeNet", dict(width=64, stride=8)), "thermometer": ("QuickUNet", dict(width=32)),
}


def measure(name, size, threads=2, seconds=SECONDS, batch=1):
    """In this process: pictures a second by the clock and by processor time, and the largest memory, in MiB, above what
    was used before."""
    import torch
    from expr_course.registry import find_network

    torch.set_num_threads(min(threads, os.cpu_count() or 1))
    kind, config = NETWORKS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network, x = (
        find_network(kind)(**config).eval().to(memory_format=torch.channels_last),
        torch.rand(batch, 3, size, size) * 2 - 1,
    )
    with torch.inference_mode():
        network(x)
        clock, used, pictures = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - clock < seconds or not pictures:
            network(x)
            pictures += batch
        clock, used = time.perf_counter() - clock, time.process_time() - used
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "network": name, "size": size, "batch": batch, "threads": torch.get_num_threads(),
        "per_second": round(pictures / clock, 2), "per_cpu_second": round(pictures / used, 2),
        "mib": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit, 1),
    }


def measure_apart(name, size, threads, seconds, batch):
    """The same in a process of its own, so that memory is that of one network at one size."""
    command = [sys.executable, __file__, "--one", name, str(size), str(threads), str(seconds), str(batch)]
    root = str(Path(__file__).resolve().parents[2])
    environment = dict(
        os.environ, OMP_NUM_THREADS=str(threads),
        PYTHONPATH=os.pathsep.join([root] + [p for p in [os.environ.get("PYTHONPATH")] if p]),
    )
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name, size", AIM)
def test_pictures_per_second(name, size):
    rates = {threads: measure_apart(name, size, threads, SECONDS, 1) for threads in (1, 2)}
    said = ", ".join(
        f"{r['per_second']:.0f} with {threads} thread{'s' * (threads > 1)}" for threads, r in rates.items()
    )
    print(
        f"\n{name} at {size} px, pictures/s: {said} (aim: {AIM[name, size]} on two idle cores); {rates[1]['mib']:.0f} "
        "MiB"
    )
    assert max(r["per_second"] for r in rates.values()) >= AIM[name, size]


def table(results):
    rows = ["network            size  batch  threads  pictures/s  per CPU second    MiB"]
    return "\n".join(
        rows
        + [
            f"{r['network']:17}  {r['size']:4}  {r['batch']:5}  {r['threads']:7}  {r['per_second']:10.2f}  "
            f"{r['per_cpu_second']:14.2f}  {r['mib']:5.0f}"
            for r in results
        ]
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Pictures parsed per second, and memory")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument(
        "--json", metavar="FILE", help="write the results here (- for standard output) instead of a table"
    )
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        name, size, threads, seconds, batch = options.one
        return print(json.dumps(measure(name, int(size), int(threads), float(seconds), int(batch))))
    results = [
        measure_apart(name, size, threads, options.seconds, options.batch)
        for name in options.networks
        for size in options.sizes
        for threads in options.threads
    ]
    if not options.json:
        return print(table(results))
    import torch
    text = json.dumps(
        {"torch": torch.__version__, "python": platform.python_version(), "cores": os.cpu_count(), "results": results},
        indent=1,
    )
    print(text) if options.json == "-" else Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
