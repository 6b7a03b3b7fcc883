"""Faces converted per second from a CelebAMask-HQ in its true layout, and the memory that it takes.

    make bench                                              memory does not grow with the number of faces
    python tests/benchmarks/bench_convert.py                a table, and what it means for all 30,000
    python tests/benchmarks/bench_convert.py --faces 2000   so many (default 500), with one process and with two
"""
import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALL, DIFFERENT, SIZE, ALLOWED = 30_000, 4, 128, 64  # faces of the real collection; different faces; pixels; MiB


def make_tree(root, faces):
    """Photographs of 1024 pixels, a mask of 512 for each part that is seen: a few drawn faces, over and over under new
    numbers"""
    sys.path.insert(0, str(ROOT / "tests"))
    from layouts import celebamask
    from PIL import Image

    different = min(faces, DIFFERENT)
    celebamask(root, range(different), 256, originals=range(different))
    # drawn at 256 and 128, enlarged to the true sizes
    for path in (*(root / "CelebA-HQ-img").glob("*.jpg"), *(root / "CelebAMask-HQ-mask-anno").rglob("*.png")):
        with Image.open(path) as small:
            large = small.resize(
                [4 * side for side in small.size],
                Image.Resampling.BICUBIC if path.suffix == ".jpg" else Image.Resampling.NEAREST,
            )
        large.save(path, quality=95)
    (root / "CelebA-HQ-to-CelebA-mapping.txt").unlink()  # by number, then
    masks = root / "CelebAMask-HQ-mask-anno"
    for n in range(different, faces):
        k, folder = n % different, masks / str(n // 2000)
        folder.mkdir(exist_ok=True)
        shutil.copy(root / "CelebA-HQ-img" / f"{k}.jpg", root / "CelebA-HQ-img" / f"{n}.jpg")
        for mask in (masks / "0").glob(f"{k:05d}_*.png"):
            shutil.copy(mask, folder / mask.name.replace(f"{k:05d}", f"{n:05d}"))


def measure(tree, out, faces, processes):
    """Convert `faces` of the tree with the command: faces a second by the clock and by processor time, MiB of the
    largest process, KiB a face on the disk"""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [
        sys.executable, str(ROOT / "data_scripts" / "prepare_celebamask.py"), str(tree), str(out), "--size", str(SIZE),
        "--processes", str(processes), "--quiet",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    )
    assert done.returncode == 0, done.stderr[-2000:]
    clock, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unit = 2**20 if sys.platform == "darwin" else 2**10
    disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "faces": faces, "processes": processes, "seconds": round(clock, 1), "per_second": round(faces / clock, 2),
        "per_cpu_second": round(faces / used, 2), "largest_process_mib": round(after.ru_maxrss / unit),
        "kib_a_face": round(disk / faces / 1024, 1),
    }


def run(faces, processes, folder):
    tree = folder / f"tree-{faces}"
    if not tree.exists():
        make_tree(tree, faces)
    return measure(tree, folder / f"out-{faces}-{processes}", faces, processes)


def test_memory_does_not_grow_with_the_number_of_faces(tmp_path):
    few, many = (run(faces, 1, tmp_path) for faces in (60, 240))
    print(
        f"\n{many['per_second']} faces/s; {few['largest_process_mib']} MiB for 60 faces, {many['largest_process_mib']} "
        "MiB for 240"
    )
    assert many["largest_process_mib"] < few["largest_process_mib"] + ALLOWED


def table(results):
    rows = ["faces  processes  faces/s  per CPU second  largest process, MiB  KiB a face  hours for 30,000"]
    return "\n".join(
        rows
        + [
            f"{r['faces']:5}  {r['processes']:9}  {r['per_second']:7.2f}  {r['per_cpu_second']:14.2f}  "
            f"{r['largest_process_mib']:20}  {r['kib_a_face']:10.1f}"
            f"  {ALL / r['per_second'] / 3600:16.2f}"
            for r in results
        ]
    )


def run_apart(faces, processes, folder):
    """`run` in a process of its own: the largest child that a process had is remembered for ever."""
    code = "import json, pathlib, bench_convert as b; "
    code += f"print(json.dumps(b.run({faces}, {processes}, pathlib.Path({folder!r}))))"
    places = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ, PYTHONPATH=places))
    return json.loads(done.stdout)


def main(arguments=None):
    p = argparse.ArgumentParser(description="Faces converted per second, and memory")
    p.add_argument("--faces", type=int, nargs="+", default=[500])
    p.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    p.add_argument(
        "--json", metavar="FILE", help="write the results here (- for standard output) instead of a table"
    )
    options = p.parse_args(arguments)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for faces in options.faces:
            for processes in options.processes:
                results.append(run_apart(faces, processes, folder))
    if not options.json:
        return print(table(results))
    text = json.dumps({"python": platform.python_version(), "cores": os.cpu_count(), "results": results}, indent=1)
    print(text) if options.json == "-" else Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
