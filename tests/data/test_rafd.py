"""RaFD: names read whole or refused, models in one split, cameras chosen, and damage."""
import pytest
from layouts import rafd, rows, survives

from expr_course.action_units import EMOTIONS
from expr_course.data.convert import convert
from expr_course.data.rafd import RaFD, main, read_rafd

# names in the pattern of the real set: model, ethnicity, gender, emotion, gaze and angle vary
NAMES = [
    "Rafd090_28_Caucasian_male_angry_frontal.jpg", "Rafd090_41_Kid_female_neutral_frontal.jpg",
    "Rafd045_28_Caucasian_male_contemptuous_left.jpg", "Rafd135_73_Moroccan_male_surprised_right.jpg",
    "Rafd090_73_Moroccan_male_happy_right.jpg", "Rafd180_73_Moroccan_male_surprised_right.jpg",
    "Rafd000_01_Caucasian_female_angry_frontal.jpg", "Rafd090_01_Caucasian_female_sad_frontal.jpg",
]


@pytest.mark.parametrize("stem, answer", [
    ("Rafd090_28_Caucasian_male_angry_frontal", (90, "28", "anger")),
    ("Rafd180_73_Moroccan_male_surprised_right", (180, "73", "surprise")),
    ("Rafd090_41_Kid_female_neutral_frontal", (90, "41", "neutral")),
    ("rafd045_11_Kid_Female_Contemptuous_Left", (45, "11", "contempt"))])
def test_names(stem, answer):
    angle, model, emotion = read_rafd(stem)
    assert (angle, model, list(EMOTIONS)[emotion]) == answer


@pytest.mark.parametrize("stem", [
    "", "Rafd90_28_Caucasian_male_angry_frontal", "Rafd090_28_Caucasian_male_bored_frontal",
    "Rafd090_28_Caucasian_male_angry_frontal (1)", "thumbs"])
def test_other_names(stem):
    with pytest.raises(ValueError, match="RaFD"):
        read_rafd(stem)


def test_rafd(tmp_path):
    rafd(tmp_path / "r", NAMES)
    (tmp_path / "r" / "cover.jpg").write_bytes(b"x")
    summary = convert(
        RaFD(tmp_path / "r", aus=tmp_path / "r" / "openface", val=0.25, test=0.25), tmp_path / "out", size=32,
        progress=False,
    )
    assert {k: s["people"] for k, s in summary["splits"].items()} == {"train": 2, "val": 1, "test": 1} and sum(
        s["faces"] for s in summary["splits"].values()
    ) == 6
    assert (
        summary["left out"] == {"taken from 000°": 1, "taken from 180°": 1, "with AUs": 6} and summary["not read"] == 1
    )
    row = rows(tmp_path / "out")[f"rafd/{NAMES[4]}"]
    assert row["aus_valid"] and row["landmarks_valid"] and row["emotion"] == 1


def test_rafd_without_a_table(tmp_path):
    rafd(tmp_path / "r", NAMES, table=False)
    with pytest.raises(ValueError, match="--aus"):
        convert(RaFD(tmp_path / "r"), tmp_path / "out", progress=False)
    summary = convert(RaFD(tmp_path / "r", whole=True, angles=(90,)), tmp_path / "whole", size=32, progress=False)
    assert sum(s["faces"] for s in summary["splits"].values()) == 4 and not any(
        r["aus_valid"] for r in rows(tmp_path / "whole").values()
    )


def test_damaged_folders(tmp_path, cases):
    root = tmp_path / "whole"
    rafd(root, NAMES[:4])
    convert(RaFD(root, aus=root), tmp_path / "sound", size=16, progress=False)

    def name(path):
        return path.rsplit("/", 1)[-1].split(".")[0]

    def touched(path):
        return lambda source: name(source).removeprefix("x y") == name(path)
    survives(root, lambda r: RaFD(r, aus=r), rows(tmp_path / "sound"), tmp_path, cases(12, 500), touched)


def test_the_command(tmp_path, capsys):
    rafd(tmp_path / "r", NAMES)
    more = ["--aus", str(tmp_path / "r"), "--angles", "90", "--size", "32", "--quiet", "--processes", "1"]
    main([str(tmp_path / "r"), str(tmp_path / "c"), *more])
    said = capsys.readouterr().out
    assert "train:" in said and "taken from 045° 1" in said
    with pytest.raises(SystemExit, match="prepare_rafd: nothing to convert"):
        main([str(tmp_path / "r" / "openface"), str(tmp_path / "x"), "--quiet"])
