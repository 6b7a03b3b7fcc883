"""Tables of AUs: every dialect read by name, failed frames left out, pickles refused, rows and pictures joined."""
import json
import pickle
import random

import numpy as np
import pytest
from layouts import drawn, openface_csv, py_feat_csv

from expr_course.data.au_tables import AURow, AUTable, Finder, join, pack, read_table, read_tables, unpack

_, _, POINTS, AUS = drawn(6, 96)


def check(table, which=range(6), points=True):
    assert len(table.rows) == len(list(which))
    for row, k in zip(table.rows, which, strict=True):
        assert np.allclose(row.aus, AUS[k], atol=0.002) and row.aus.dtype == np.float32
        assert np.allclose(row.landmarks, POINTS[k], atol=0.01) if points else row.landmarks is None


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("padding", [0, 400])
def test_openface_video(tmp_path, old, padding):
    openface_csv(tmp_path / "a.csv", AUS, POINTS, old=old, padding=padding)
    table = read_table(tmp_path / "a.csv")
    check(table)
    assert table.kind == "openface" and [r.frame for r in table.rows] == [1, 2, 3, 4, 5, 6]


def test_openface_images(tmp_path):
    openface_csv(tmp_path / "a.csv", AUS[:2], None, faces=[0, 1], video=False)
    table = read_table(tmp_path / "a.csv")
    check(table, range(2), points=False)
    assert [(r.name, r.frame, r.face) for r in table.rows] == [("a", 0, 0), ("a", 0, 1)]


def test_failed_and_unsure_frames_are_left_out_and_counted(tmp_path):
    openface_csv(tmp_path / "a.csv", AUS, POINTS, lost={1, 4}, unsure={2})
    table = read_table(tmp_path / "a.csv")
    check(table, [0, 3, 5])
    assert table.counts == {"failed frames": 2, "below confidence": 1}
    check(read_table(tmp_path / "a.csv", confidence=0.4), [0, 2, 3, 5])


def test_a_table_of_failures_is_not_an_error(tmp_path):
    openface_csv(tmp_path / "a.csv", AUS, POINTS, lost=set(range(6)))
    assert read_table(tmp_path / "a.csv").counts["failed frames"] == 6


def test_columns_in_any_order(tmp_path):
    openface_csv(tmp_path / "a.csv", AUS, POINTS)
    lines = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    order = random.Random(0).sample(range(len(lines[0])), len(lines[0]))
    (tmp_path / "a.csv").write_text(
        "\ufeff" + "\r\n".join(",".join(line[i] for i in order) for line in lines), encoding="utf-8"
    )
    check(read_table(tmp_path / "a.csv"))


def test_py_feat(tmp_path):
    py_feat_csv(tmp_path / "a.csv", [f"x/{k}.jpg" for k in range(6)], AUS, POINTS)
    table = read_table(tmp_path / "a.csv")
    check(table)
    assert table.kind == "py-feat" and table.rows[3].name == "x/3.jpg"


def test_plain_text_and_json(tmp_path):
    (tmp_path / "a.txt").write_text(
        "\n".join(f"my {k}.jpg " + " ".join(f"{5 * v:.4f}" for v in a) for k, a in enumerate(AUS))
    )
    (tmp_path / "a.json").write_text(json.dumps({f"my {k}": (5 * a).tolist() for k, a in enumerate(AUS)}))
    for name in ("a.txt", "a.json"):
        check(read_table(tmp_path / name), points=False)
        assert read_table(tmp_path / name).rows[2].name.startswith("my 2")


@pytest.mark.parametrize("name, protocol", [("a.pkl", 4), ("a.csv", 4), ("a.json", 2), ("b.pickle", 0), ("b.txt", 0)])
def test_pickles_are_refused_unopened(tmp_path, name, protocol):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("the pickle was opened",)
    (tmp_path / name).write_bytes(pickle.dumps({"a": Bomb()}, protocol=protocol))
    with pytest.raises(ValueError, match="pickle.*json.dump"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("data, says", [
    (b"", "empty"), (b"  \n\n", "empty"), (b"frame, AU01_r\n1,\xff", "UTF-8"), (b"a,b\n1,2\n", "no columns of AUs"),
    (b"[1, 2]", "no columns"), (b"frame, confidence, success\n1, 0.9, 1\n", "-aus"), (b"hello world\n", "no row")])
def test_what_is_no_table(tmp_path, data, says):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(ValueError, match=says):
        read_table(tmp_path / "a.csv")


def test_missing_aus_are_named(tmp_path):
    openface_csv(tmp_path / "a.csv", AUS, POINTS)
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().replace("AU12_r", "AU99_r"))
    with pytest.raises(ValueError, match="AU12_r"):
        read_table(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "5.2", "1e308", "", "x"])
def test_absurd_numbers_cost_one_row(tmp_path, value):
    openface_csv(tmp_path / "a.csv", AUS, POINTS)
    lines = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()]
    lines[3][[c.strip() for c in lines[0]].index("AU15_r")] = value
    (tmp_path / "a.csv").write_text("\n".join(map(",".join, lines)))
    table = read_table(tmp_path / "a.csv")
    check(table, [0, 1, 3, 4, 5])
    assert table.refused[0][0] == "line 4" and "AU15" in table.refused[0][1]


def test_cut_lines_and_repeated_frames(tmp_path):
    openface_csv(tmp_path / "a.csv", AUS, POINTS, frames=[1, 2, 2, 3, 4, 5])
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text[:-200])
    table = read_table(tmp_path / "a.csv")
    check(table, [0, 1, 3, 4])
    assert {place for place, _ in table.refused} == {"line 4", "line 7"}


def test_scales(tmp_path):
    (tmp_path / "a.txt").write_text("a.jpg " + " ".join(["1.0"] * 17))
    assert read_table(tmp_path / "a.txt").rows[0].aus[0] == pytest.approx(0.2)
    assert read_table(tmp_path / "a.txt", top=1).rows[0].aus[0] == 1


def test_a_folder_of_tables(tmp_path):
    for k in range(3):
        openface_csv(tmp_path / "sub" / f"p{k}.csv", AUS[k:k + 1], POINTS[k:k + 1], video=False)
    (tmp_path / "bad.csv").write_bytes(b"\xff")
    table = read_tables(tmp_path)
    check(table, range(3))
    assert [r.name for r in table.rows] == ["sub/p0", "sub/p1", "sub/p2"] and table.refused[0][0] == "bad"
    with pytest.raises(ValueError, match="no table"):
        read_tables(tmp_path / "sub" / "..", confidence=1.1)


def test_rows_find_their_pictures():
    big, small = POINTS[0].astype(np.float32), (POINTS[1] / 2).astype(np.float32)
    finder = Finder(
        [
            AURow("out/a.png", 0, 0, AUS[0]), AURow("b\\c.jpg", 0, 0, AUS[1]), AURow("d/c.jpg", 0, 0, AUS[2]),
            AURow("two", 0, 0, AUS[3], small), AURow("two", 0, 1, AUS[4], big), AURow("both", 0, 0, AUS[3]),
            AURow("both", 0, 1, AUS[4]), AURow("v1.2", 0, 0, AUS[5]),
        ]
    )
    assert finder.find("in/a.jpg") is not None and finder.find("b/c.png").name == "b\\c.jpg"
    assert finder.find("c.jpg") is None and finder.find("nobody.jpg") is None, "c is two pictures"
    assert finder.find("two.jpg").face == 1 and finder.find("both.jpg") is None
    assert finder.find("v1.2") is not None
    assert finder.counts == {"with AUs": 4, "without AUs": 2, "AUs of several faces, unclear which": 1}


def test_packing():
    row = AURow("a", 0, 0, AUS[0].astype(np.float32), POINTS[0].astype(np.float32))
    aus, points = unpack(*pack(row))
    assert np.array_equal(aus, row.aus) and np.array_equal(points, row.landmarks)
    assert unpack(*pack(None)) == (None, None)


def test_without_a_table_nothing_is_found_and_nothing_is_counted():
    finder, table = join(None)
    assert finder.find("a.jpg") is None and not table.rows and not table.counts


def test_a_joined_table_counts_what_is_found_and_hands_its_account_over(tmp_path):
    openface_csv(tmp_path / "a.csv", AUS[:1], POINTS[:1], video=False)
    (tmp_path / "bad.csv").write_bytes(b"\xff")
    finder, table = join(tmp_path)
    assert finder.find("a.jpg") is not None and finder.find("b.jpg") is None
    walk = AUTable("walk")
    table.note(walk, "aus")
    assert walk.counts == {"with AUs": 1, "without AUs": 1} and walk.refused[0][0] == "aus, bad"
