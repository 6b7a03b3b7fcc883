"""Videos and pictures with tables: exact frames, several faces, failed frames, every dialect, and damage."""
import numpy as np
import pytest
from layouts import drawn, openface_csv, py_feat_csv, rows, save, survives, video

from expr_course.data.convert import convert
from expr_course.data.openface import OpenFace, Video, main, open_video

PICTURES, _, POINTS, AUS = drawn(6, 96)
FRAMES = np.stack([np.roll(PICTURES[k % 6], k, 1) for k in range(30)])
MOVED = np.stack([POINTS[k % 6] + (k, 0) for k in range(30)])


@pytest.fixture(autouse=True)
def forget():
    yield
    open_video.cache_clear()


def shown(tensor, frames=FRAMES):
    return int(np.abs(frames.astype(float) - ((tensor + 1) * 127.5).permute(1, 2, 0).numpy()).mean((1, 2, 3)).argmin())


@pytest.mark.parametrize("b_frames", [0, 2])
def test_frames_are_exact_in_any_order(tmp_path, b_frames):
    video(tmp_path / "a.mp4", FRAMES, b_frames)
    v = Video(tmp_path / "a.mp4")
    assert len(v) == 30
    order = [*range(30), 29, 0, 17, 16, 18, 3]
    assert [shown(v.frame(k)) for k in order] == order
    for k in (-1, 30):
        with pytest.raises(ValueError, match="30 frames"):
            v.frame(k)


def test_a_damaged_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="a.mp4"):
        Video(tmp_path / "a.mp4")


def test_a_video(tmp_path):
    video(tmp_path / "v" / "me.mp4", FRAMES[:6])
    openface_csv(tmp_path / "v" / "me.csv", AUS, MOVED[:6], lost={1}, unsure={4}, padding=300)
    summary = convert(OpenFace(tmp_path / "v"), tmp_path / "out", size=32, progress=False)
    stored = rows(tmp_path / "out")
    assert list(stored) == [f"openface/me.mp4#{k:06d}" for k in (1, 3, 4, 6)]
    for k in (0, 2, 3, 5):
        assert np.allclose(stored[f"openface/me.mp4#{k + 1:06d}"]["aus"], AUS[k][:, None], atol=0.001)
    assert (
        summary["left out"] == {"failed frames": 1, "below confidence": 1} and summary["splits"]["train"]["people"] == 1
    )
    assert len(OpenFace(tmp_path / "v", every=3).walk().records) == 2


def test_several_faces_in_a_frame(tmp_path):
    wide = np.concatenate([FRAMES[:3], FRAMES[3:6]], 2)
    video(tmp_path / "v" / "two.mp4", wide)
    aus, points = np.concatenate([AUS[:3], AUS[3:6]]), np.concatenate([MOVED[:3], MOVED[3:6] + (96, 0)])
    openface_csv(tmp_path / "v" / "two.csv", aus, points, frames=[1, 2, 3] * 2, faces=[0] * 3 + [1] * 3)
    summary = convert(OpenFace(tmp_path / "v"), tmp_path / "out", size=32, progress=False)
    stored = rows(tmp_path / "out")
    assert (
        len(stored) == 6
        and summary["splits"]["train"]["people"] == 2
        and summary["left out"] == {"pictures with several faces": 3}
    )
    assert np.allclose(stored["openface/two.mp4#000002/1"]["aus"], AUS[4][:, None], atol=0.001)
    openface_csv(tmp_path / "v" / "two.csv", aus, None, frames=[1, 2, 3] * 2, faces=[0] * 3 + [1] * 3)
    assert not OpenFace(tmp_path / "v").walk().records


def test_a_table_that_does_not_belong_to_the_video(tmp_path):
    video(tmp_path / "a.mp4", FRAMES[:6])
    openface_csv(tmp_path / "a.csv", AUS[:4], MOVED[:4], frames=[5, 6, 7, 8])
    walk = OpenFace(tmp_path).walk()
    assert [r.data[2] for r in walk.records] == [4, 5]
    assert walk.counts == {"rows of frames that the video does not have": 2, "frames of videos without a row": 2}
    (tmp_path / "a.csv").unlink()
    assert "no table a.csv" in OpenFace(tmp_path).walk().refused[0][1]


@pytest.mark.parametrize("place", ["beside", "processed", "elsewhere"])
def test_where_tables_are_found(tmp_path, place):
    video(tmp_path / "v" / "s" / "a.mp4", FRAMES[:2])
    folder = {
        "beside": tmp_path / "v" / "s", "processed": tmp_path / "v" / "s" / "processed", "elsewhere": tmp_path / "t",
    }[place]
    openface_csv(folder / "a.csv", AUS[:2], MOVED[:2], old=True)
    assert len(OpenFace(tmp_path / "v", tables=tmp_path / "t" if place == "elsewhere" else None).walk().records) == 2


def pictures(root, names):
    for k, name in enumerate(names):
        save(PICTURES[k], root / name)


def test_pictures_with_a_table_each(tmp_path):
    names = [f"p{k // 2}_{k}.png" for k in range(6)]
    pictures(tmp_path / "in", names)
    for k, name in enumerate(names):
        openface_csv((tmp_path / "in" / name).with_suffix(".csv"), AUS[k:k + 1], POINTS[k:k + 1], video=False)
    summary = convert(
        OpenFace(tmp_path / "in", people=r"(p\d)_", val=0.34, test=0.34), tmp_path / "out", size=32, progress=False
    )
    assert {k: (s["faces"], s["people"]) for k, s in summary["splits"].items()} == dict.fromkeys(
        ("train", "val", "test"), (2, 1)
    )
    assert np.allclose(rows(tmp_path / "out")["openface/p1_3.png"]["aus"], AUS[3][:, None], atol=0.001)


@pytest.mark.parametrize("dialect", ["py-feat", "text", "json", "named csv"])
def test_pictures_with_one_table(tmp_path, dialect):
    import json
    names = [f"a/{k}.png" for k in range(6)]
    pictures(tmp_path / "in", names)
    if dialect == "py-feat":
        py_feat_csv(tmp_path / "t.csv", [f"/data/{n}" for n in names], AUS, POINTS)
    elif dialect == "text":
        (tmp_path / "t.csv").write_text(
            "\n".join(f"{k}.png " + " ".join(f"{5 * v:.3f}" for v in AUS[k]) for k in range(6))
        )
    elif dialect == "json":
        (tmp_path / "t.json").write_text(json.dumps({f"a/{k}": (5 * AUS[k]).tolist() for k in range(6)}))
    else:
        openface_csv(tmp_path / "t.csv", AUS, POINTS)
        lines = (tmp_path / "t.csv").read_text().splitlines()
        (tmp_path / "t.csv").write_text(
            "\n".join(
                f"{'file, identity' if k == 0 else f'{names[k - 1]},who{k // 3}'}, {line}"
                for k, line in enumerate(lines)
            )
        )
    table, given = tmp_path / f"t.{'json' if dialect == 'json' else 'csv'}", dialect in ("py-feat", "named csv")
    convert(OpenFace(tmp_path / "in", tables=table, whole=not given), tmp_path / "out", size=32, progress=False)
    stored = rows(tmp_path / "out")
    assert len(stored) == 6 and np.allclose(stored["openface/a/4.png"]["aus"], AUS[4][:, None], atol=0.001)
    assert all(r["landmarks_valid"] == given for r in stored.values())


def test_without_landmarks_the_way_out_is_named(tmp_path):
    pictures(tmp_path / "in", ["0.png"])
    openface_csv(tmp_path / "in" / "0.csv", AUS[:1], None, video=False)
    with pytest.raises(ValueError, match="--whole"):
        convert(OpenFace(tmp_path / "in"), tmp_path / "out", progress=False)


@pytest.mark.parametrize("options, says", [
    (dict(people="("), "regular expression"), (dict(people="abc"), "brackets"), (dict(every=0), "at least 1")])
def test_options_that_cannot_be_meant(tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        OpenFace(tmp_path, **options).walk()


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_damaged_folders(tmp_path, cases, kind):
    root = tmp_path / "whole"
    if kind == "video":
        for name, part in (("a", slice(0, 3)), ("b", slice(3, 6))):
            video(root / f"{name}.mp4", FRAMES[part])
            openface_csv(root / f"{name}.csv", AUS[part], MOVED[part])
        def touched(path):  # "x y": renamed together with its table
            return lambda source: path.endswith(".mp4") and source.startswith((f"openface/{path}", "openface/x y"))
    else:
        pictures(root, [f"{k}.png" for k in range(4)])
        for k in range(4):
            openface_csv(root / f"{k}.csv", AUS[k:k + 1], POINTS[k:k + 1], video=False)
        def touched(path):
            return lambda source: path.endswith(".png") and source.startswith((f"openface/{path}", "openface/x y"))
    convert(OpenFace(root), tmp_path / "sound", size=16, progress=False)
    survives(root, OpenFace, rows(tmp_path / "sound"), tmp_path, cases(12, 500), touched)


def test_the_command(tmp_path, capsys):
    pictures(tmp_path / "in", ["0.png"])
    openface_csv(tmp_path / "in" / "0.csv", AUS[:1], POINTS[:1], video=False)
    main([str(tmp_path / "in"), str(tmp_path / "out"), "--size", "32", "--quiet", "--processes", "1"])
    assert "train: 1 faces" in capsys.readouterr().out
