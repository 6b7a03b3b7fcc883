"""Drawn faces on a disk in the layouts of the real data sets, whole or damaged: what the tests of the converters
read."""
import shutil
from functools import cache

import numpy as np
from PIL import Image

from expr_course.action_units import AUS, merge_sides, sample_aus
from expr_course.faces import LABELS, render, sample_identities
from expr_course.plots import to_uint8
from expr_course.data.shards import read_manifest, read_shard

AU_C = sorted(AUS + ("AU28",))


@cache
def drawn(count, size=96, seed=7):
    """(pictures uint8 N×H×W×3, labels uint8 N×H×W, landmarks N×68×2, AUs N×17) of different people with open eyes."""
    faces = render(sample_identities(count, seed=seed), sample_aus(count, seed) * 0.5, size=size)
    return (
        to_uint8(faces.image), faces.labels.numpy().astype(np.uint8), faces.landmarks.numpy().astype(float),
        merge_sides(faces.aus).numpy(),
    )


def save(picture, path, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **more)


# --- CelebAMask-HQ ------------------------------------------------------------------------------------------------

def celebamask(
    root, numbers=(0, 1, 2000, 2001), size=96, grey=False, header=True, originals=(119613, 99094, 170000, 190000)
):
    """The official tree, small: photographs of `size` pixels, parts of half of it. Returns the label maps that must
    come out."""
    pictures, labels, *_ = drawn(len(numbers), size)
    labels = labels[:, ::2, ::2]
    for n, picture, m in zip(numbers, pictures, labels, strict=True):
        save(picture, root / "CelebA-HQ-img" / f"{n}.jpg", quality=95)
        for k, part in enumerate(LABELS):
            # skin runs on below: painting order matters
            mask = (m == k) | (np.isin(m, (2, 4, 5, 6, 7)) if part == "skin" else False)
            if k and (m == k).any():
                mask = Image.fromarray((mask * 255).astype(np.uint8))
                path = root / "CelebAMask-HQ-mask-anno" / str(n // 2000) / f"{n:05d}_{part}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                (mask if grey else mask.convert("RGB")).save(path)
    lines = ["idx         orig_idx    orig_file"] * header + [
        f"{n:<12}{o:<12}{o + 1:06d}.jpg" for n, o in zip(numbers, originals)
    ]
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines) + "\n")
    return dict(zip(numbers, labels))


# --- tables -------------------------------------------------------------------------------------------------------

def openface_csv(path, aus, points=None, frames=None, faces=None, lost=(), unsure=(), video=True, old=False, padding=0):
    """A table as OpenFace writes it. aus N×17 in [0, 1]. old: no face_id; video=False: `face, confidence` and no
    success; padding: columns that nobody needs."""
    n = len(aus)
    frames, faces = frames or range(1, n + 1), faces or [0] * n
    names = (
        (["frame"] + ["face_id"] * (not old) + ["timestamp", "confidence", "success"])
        if video
        else ["face", "confidence"]
    )
    names += [f"gaze_{k}" for k in range(padding)]
    if points is not None:
        names += [f"{axis}_{k}" for axis in "xy" for k in range(68)]
    names += [f"{a}_r" for a in AUS] + [f"{a}_c" for a in AU_C]
    lines = [", ".join(names)]
    for k in range(n):
        bad = k in lost
        sure = 0.02 if bad else 0.5 if k in unsure else 0.98
        row = (
            ([str(frames[k])] + [str(faces[k])] * (not old) + [f"{k / 25:.3f}", f"{sure}", str(int(not bad))])
            if video
            else [str(faces[k]), f"{sure}"]
        )
        row += ["0.1"] * padding
        if points is not None:
            row += [f"{0 if bad else v:.3f}" for v in points[k].T.reshape(-1)]
        row += [f"{0 if bad else 5 * v:.3f}" for v in aus[k]] + ["1.00"] * len(AU_C)
        lines.append(",  ".join(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def py_feat_csv(path, names, aus, points):
    """A table as py-feat writes it: 20 AUs without suffix, 0 to 1, AU43 for closed eyes; scores of emotions; the
    picture last."""
    units = [f"AU{k:02d}" for k in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)]
    head = ["frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"] + [
        f"{axis}_{k}" for axis in "xy" for k in range(68)
    ]
    lines = [",".join(head + units + ["Pitch", "anger", "input"])]
    for name, a, p in zip(names, aus, points, strict=True):
        value = dict(zip(AUS, a)) | {"AU43": a[16]}
        lines.append(
            ",".join(
                ["0", "1", "2", "30", "40", "0.999"]
                + [f"{v:.3f}" for v in p.T.reshape(-1)]
                + [f"{value.get(u, 0.5):.4f}" for u in units]
                + ["1.5", "0.1", name]
            )
        )
    path.write_text("\n".join(lines) + "\n")


def video(path, pictures, b_frames=2):
    import av
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = (
            pictures.shape[2], pictures.shape[1], "yuv420p", 4_000_000,
        )
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = b_frames, 12
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        file.mux(stream.encode())


# --- AffectNet, RaFD ----------------------------------------------------------------------------------------------

def affectnet_2021(root, emotions=(0, 1, 2, 3, 4, 5, 6, 7), size=64):
    """train_set with strings, val_set with numbers, as in the real thing."""
    pictures, _, points, _ = drawn(len(emotions), size)
    for k, e in enumerate(emotions):
        split, text = ("train_set", True) if k < 5 else ("val_set", False)
        save(pictures[k], root / split / "images" / f"{k}.jpg", quality=95)
        notes = root / split / "annotations"
        notes.mkdir(parents=True, exist_ok=True)
        for kind, value in (("exp", e), ("val", 0.5), ("aro", -0.25)):
            np.save(notes / f"{k}_{kind}.npy", np.array(str(value) if text else value))
        np.save(notes / f"{k}_lnd.npy", points[k].reshape(-1))


HEADER_2017 = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def affectnet_2017(root, emotions=(0, 1, 2, 3, 4, 5, 6, 7), size=64, header=True):
    pictures, _, points, _ = drawn(len(emotions), size)
    lines = []
    for k, e in enumerate(emotions):
        save(
            np.pad(pictures[k], ((20, 10), (30, 10), (0, 0)), mode="edge"),
            root / "Manually_Annotated_Images" / str(k % 3) / f"p{k}.jpg", quality=95,
        )
        marks = ";".join(f"{v:.2f}" for v in (points[k] + (30, 20)).reshape(-1))
        lines.append(f"{k % 3}/p{k}.jpg,36,30,52,50,{marks},{e},0.3,-0.2")
    (root / "training.csv").write_text("\n".join([HEADER_2017] * header + lines[:5]) + "\n")
    (root / "validation.csv").write_text("\n".join([HEADER_2017] * header + lines[5:]) + "\n")


def rafd(root, names, size=64, table=True):
    pictures, _, points, aus = drawn(len(names), size)
    for k, name in enumerate(names):
        save(pictures[k], root / name, quality=95)
        if table:
            openface_csv((root / "openface" / name).with_suffix(".csv"), aus[k:k + 1], points[k:k + 1], video=False)


# --- results and damage -------------------------------------------------------------------------------------------

def rows(out):
    """{source: row} of everything that is stored."""
    return {r["source"]: r for split in ("train", "val", "test") if (out / split / "manifest.json").exists()
            for name in read_manifest(out / split)["shards"] for r in read_shard(out / split / name).to_pylist()}


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


TEXT = (".csv", ".txt", ".json")


def damage(root, rng):
    """Damage one file below root at random, so that no reader could take it for a sound one of other content. Returns
    its path before the damage."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    path = files[rng.integers(len(files))]
    data = path.read_bytes()
    kinds = ["cut", "empty", "garbage", "gone", "renamed", "other type"] + (
        ["not UTF-8", "absurd"] * 2 if path.suffix in TEXT else []
    )
    kind = kinds[rng.integers(len(kinds))] if data else "gone"  # emptied by an earlier damage: nothing is left to spoil
    if kind == "cut" and path.suffix in TEXT:  # within a line: a text cut off between two lines is a sound shorter text
        lines = data.splitlines(True)
        at = int(rng.integers(len(lines)))
        path.write_bytes(b"".join(lines[:at]) + lines[at][:len(lines[at]) // 3])
    elif kind == "cut":
        path.write_bytes(data[:int(len(data) * rng.random() * 0.95)])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(rng.bytes(len(data)))
    elif kind == "gone":
        path.unlink()
    elif kind == "renamed":
        path.rename(path.with_name("x y" + path.name))
    elif kind == "other type":
        others = [f for f in files if f.suffix != path.suffix and f.exists()]
        shutil.copyfile(others[rng.integers(len(others))], path) if others else path.write_bytes(b"")
    elif kind == "not UTF-8":
        at = int(rng.integers(len(data)))
        path.write_bytes(data[:at] + b"\xff\xfe\x80" + data[at:])
    elif kind == "absurd":
        lines = data.decode(errors="replace").splitlines()
        at = int(rng.integers(len(lines)))
        fields = lines[at].split(",")
        for _ in range(int(rng.integers(1, 9))):
            fields[rng.integers(len(fields))] = ["nan", "1e308", "-7", "inf", "", "abc", "9" * 400, "1e-400x"][
                rng.integers(8)
            ]
        path.write_text("\n".join(lines[:at] + [",".join(fields)] + lines[at + 1:]) + "\n")
    return path, kind


def survives(whole, make, sound, folder, count, touched, seed=0):
    """Damage copies of the tree `whole` again and again and convert each: an error that says something, or a report and
    no wrong row.

    make(root) -> collection; sound: rows of the undamaged tree; touched(path relative to the tree) -> test(source): may
    a row from it look different?"""
    from expr_course.data.convert import convert
    rng = np.random.default_rng(seed)
    good = 0
    for k in range(count):
        root, out = folder / f"in{k}", folder / f"out{k}"
        shutil.copytree(whole, root)
        hits = [damage(root, rng) for _ in range(1 + int(rng.random() < 0.3))]
        said = [(p.relative_to(root).as_posix(), kind) for p, kind in hits]
        try:
            summary = convert(make(root), out, size=16, progress=False)
        except (ValueError, OSError) as e:
            assert str(e), said
        else:
            good += 1
            stored, tests = rows(out), [touched(path) for path, _ in said]
            assert len(stored) == sum(s["faces"] for s in summary["splits"].values())
            for source, row in stored.items():
                if not any(test(source) for test in tests):
                    assert row == sound.get(source), (said, source)
            if len(stored) < len(sound) and not any(kind in ("gone", "renamed") for _, kind in said):
                assert (
                    summary["not read"] or summary["left out"] or any(s["skipped"] for s in summary["splits"].values())
                ), (said, "silent")
        for place in (root, out):
            shutil.rmtree(place, ignore_errors=True)
    assert good, "every damaged tree was refused: bad files must be skipped"
