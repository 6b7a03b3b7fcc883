"""AffectNet in both layouts: emotions mapped, AUs open until joined, pickles refused."""
import numpy as np
import pytest
from layouts import affectnet_2017, affectnet_2021, drawn, openface_csv, rows, survives

from expr_course.action_units import EMOTIONS
from expr_course.data.affectnet import AffectNet2017, AffectNet2021, emotion_of, main, read_scalar
from expr_course.data.convert import convert


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    root = tmp_path_factory.mktemp("a") / "AffectNet8"
    affectnet_2021(root)
    return root


def test_emotions_are_those_of_the_course():
    assert list(EMOTIONS) == ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]
    assert [emotion_of(k) for k in range(8)] == list(range(8))
    for number in (8, 9, 10, -1, 11, 2.5, float("nan")):
        with pytest.raises(ValueError):
            emotion_of(number)


def test_2021(new, tmp_path):
    summary = convert(AffectNet2021(new), tmp_path, size=32, progress=False)
    stored = rows(tmp_path)
    assert {k: s["faces"] for k, s in summary["splits"].items()} == {"train": 5, "val": 3}
    assert stored["affectnet/val_set/images/6.jpg"]["emotion"] == 6 and not any(r["aus_valid"] for r in stored.values())
    assert all(r["landmarks_valid"] for r in stored.values()) and summary["splits"]["train"]["how"] == {
        "landmarks of the data set": 5
    }


@pytest.mark.parametrize("value, number", [
    (np.array("3"), 3), (np.array(3), 3), (np.array(3.0), 3), (np.array([3]), 3), (np.array(b"3"), 3),
    (np.array("-0.25"), -0.25)])
def test_scalars(tmp_path, value, number):
    np.save(tmp_path / "a.npy", value)
    assert read_scalar(tmp_path / "a.npy") == number


@pytest.mark.parametrize("value, says", [
    (np.array("x"), "not a number"), (np.array([1, 2]), "not one number"),
    (np.array({"a": 1}, dtype=object), "pickle"), (np.zeros(99999), "too large")])
def test_what_is_no_scalar(tmp_path, value, says):
    np.save(tmp_path / "a.npy", value)
    with pytest.raises(ValueError, match=says):
        read_scalar(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="no b.npy"):
        read_scalar(tmp_path / "b.npy")


def test_landmarks_that_are_no_face_are_not_stored(tmp_path):
    affectnet_2021(tmp_path / "a")
    notes = tmp_path / "a" / "train_set" / "annotations"
    np.save(notes / "1_lnd.npy", np.random.default_rng(0).uniform(0, 64, 136))
    (notes / "2_lnd.npy").unlink()
    (notes / "3_exp.npy").unlink()
    np.save(notes / "4_exp.npy", np.array("9"))
    summary = convert(AffectNet2021(tmp_path / "a"), tmp_path / "out", size=32, progress=False)
    stored = rows(tmp_path / "out")
    assert (
        summary["splits"]["train"]["how"] == {"landmarks of the data set": 1, "the whole picture": 2}
        and summary["splits"]["train"]["skipped"] == 2
    )
    assert not stored["affectnet/train_set/images/1.jpg"]["landmarks_valid"]
    text = (tmp_path / "out" / "skipped.csv").read_text()
    assert "no 3_exp.npy" in text and "uncertain" in text


@pytest.mark.parametrize("header", [True, False])
def test_2017(tmp_path, header):
    affectnet_2017(tmp_path / "a", emotions=(0, 1, 2, 8, 10, 5, 6, 7), header=header)
    summary = convert(AffectNet2017(tmp_path / "a"), tmp_path / "out", size=32, progress=False)
    stored = rows(tmp_path / "out")
    assert {k: s["faces"] for k, s in summary["splits"].items()} == {"train": 3, "val": 3}
    assert summary["left out"] == {"labelled 10, no face": 1, "labelled 8, none of the eight emotions": 1}
    assert stored["affectnet/0/p6.jpg"]["emotion"] == 6 and all(r["landmarks_valid"] for r in stored.values())


def test_2017_the_box_is_the_last_resort(tmp_path):
    affectnet_2017(tmp_path / "a")
    text = (tmp_path / "a" / "training.csv").read_text().splitlines()
    fields = [line.split(",") for line in text]
    fields[1][5] = "1;2;3"
    fields[2][5], fields[2][3] = "", "nan"
    (tmp_path / "a" / "training.csv").write_text("\n".join(map(",".join, fields)))
    summary = convert(AffectNet2017(tmp_path / "a"), tmp_path / "out", size=32, progress=False)
    assert (
        summary["splits"]["train"]["how"] == {"a guess from the box": 1, "landmarks of the data set": 3}
        and summary["splits"]["train"]["skipped"] == 1
    )


def test_2017_paths_stay_inside(tmp_path):
    affectnet_2017(tmp_path / "a")
    text = (tmp_path / "a" / "training.csv").read_text()
    (tmp_path / "a" / "training.csv").write_text(text.replace("0/p0.jpg", "../secret.jpg"))
    assert "no path" in AffectNet2017(tmp_path / "a").walk().refused[0][1]


def test_aus_are_joined(new, tmp_path):
    _, _, points, aus = drawn(8, 64)
    for k in range(4):
        openface_csv(tmp_path / "t" / f"{k}.csv", aus[k:k + 1], points[k:k + 1], video=False)
    summary = convert(AffectNet2021(new, aus=tmp_path / "t"), tmp_path / "out", size=32, progress=False)
    stored = rows(tmp_path / "out")
    assert summary["left out"] == {"with AUs": 4, "without AUs": 4}
    assert (
        np.allclose(stored["affectnet/train_set/images/3.jpg"]["aus"], aus[3][:, None], atol=0.001)
        and not stored["affectnet/val_set/images/7.jpg"]["aus_valid"]
    )
    (tmp_path / "labels.pkl").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match="pickle"):
        AffectNet2021(new, aus=tmp_path / "labels.pkl").walk()


@pytest.mark.parametrize("kind", ["2021", "2017"])
def test_damaged_folders(tmp_path, cases, kind):
    root, make = tmp_path / "whole", {"2021": AffectNet2021, "2017": AffectNet2017}[kind]
    {"2021": affectnet_2021, "2017": affectnet_2017}[kind](root, emotions=(0, 1, 2, 3, 4, 5))
    convert(make(root), tmp_path / "sound", size=16, progress=False)

    def name(path):
        return path.rsplit("/", 1)[-1].split(".")[0]

    def touched_2021(path):
        names = (name(path).split("_")[0], "x y" + name(path))
        return lambda source: name(source) in names and not path.endswith("exp.npy")

    def touched_2017(path):
        return lambda source: path.endswith(".csv") or name(source) == name(path)
    touched = {"2021": touched_2021, "2017": touched_2017}[kind]
    survives(root, make, rows(tmp_path / "sound"), tmp_path, cases(12, 500), touched)


def test_the_command(new, tmp_path, capsys):
    more = ["--size", "32", "--quiet", "--processes", "1"]
    main([str(new), str(tmp_path / "a"), *more])
    affectnet_2017(tmp_path / "old")
    main([str(tmp_path / "old"), str(tmp_path / "b"), *more])
    assert capsys.readouterr().out.count("train:") == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="prepare_affectnet: nothing to convert"):
        main([str(tmp_path / "empty"), str(tmp_path / "x"), "--quiet"])
