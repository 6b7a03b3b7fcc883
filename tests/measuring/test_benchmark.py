"Lesson 06b: the benchmark."
import json
import math
import types

import pytest
import torch
from lessons import ROOT

from expr_course.action_units import AUS, RIVALS, apply_relative, au_index
from expr_course.data.sources import SEEDS, split_seed
from expr_course.faces import VERSION
from expr_course.measuring import benchmark as bench
from expr_course.measuring.benchmark import (CASE_KINDS, COPY, METRICS, TRUE, bench_name, make_cases, results_table,
                                             results_table_by, run_all, run_one, save_reports)


@pytest.fixture(scope="module")
def cases():
    return make_cases()


@pytest.fixture(scope="module")
def reports():
    def halfway(images, source, rel):
        return images * 0.9
    return run_all({"dim": halfway}, size=32, limit=10, batch_size=4, device="cpu")


def test_a_thousand_in_three_kinds(cases):
    assert CASE_KINDS == {"transfer": 400, "single": 400, "emotion": 200} and len(cases) == 1000
    assert {kind: cases.kinds.count(kind) for kind in CASE_KINDS} == CASE_KINDS
    assert cases.source.shape == cases.target.shape == (1000, 17, 2)
    for aus in (cases.source, cases.target):
        assert aus.min() >= 0 and aus.max() <= 1
    assert bench_name(64) == f"bench-{VERSION}-64"


def test_nobody_in_training_can_be_met():
    ranges = list(SEEDS.values())
    assert all(a.start not in b and a.stop - 1 not in b for a in ranges for b in ranges if a is not b)
    assert all(split_seed("test", k) in SEEDS["test"] for k in range(6))


def test_the_same_questions_for_everybody(cases):
    again = make_cases()
    assert torch.equal(cases.source, again.source) and torch.equal(cases.target, again.target)
    from expr_course.faces import render
    a, b = (render(c.people[:2], c.source[:2], size=32).image for c in (cases, again))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    "limit, shares",
    [(1, (0, 0, 1)), (5, (2, 2, 1)), (10, (4, 4, 2)), (101, (40, 40, 21)), (1000, (400, 400, 200))],
)
def test_a_small_run_is_part_of_the_large_one(cases, limit, shares):
    part = make_cases(limit)
    assert tuple(part.kinds.count(kind) for kind in CASE_KINDS) == shares and len(part) == len(part.people) == limit
    rows = [cases.kinds.index(kind) + k for kind, share in zip(CASE_KINDS, shares) for k in range(share)]
    assert torch.equal(part.source, cases.source[rows]) and part.asks == tuple(cases.asks[k] for k in rows)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_other_limits_are_refused(limit):
    with pytest.raises(ValueError, match="1 to 1000"):
        make_cases(limit)


def test_single_cases_move_one_au_clearly(cases):
    rows = [k for k, kind in enumerate(cases.kinds) if kind == "single"]
    asked = set()
    for k in rows:
        name, way = cases.asks[k].split()
        change = cases.target[k] - cases.source[k]
        moved = change.abs().sum(-1).nonzero().flatten().tolist()
        assert moved == [au_index(name)] and change[moved[0], 0] == change[moved[0], 1]
        assert (0.5 <= change[moved[0], 0] <= 1) if way == "up" else (-1 <= change[moved[0], 0] <= -0.5)
        rivals = [au_index(b if a == name else a) for a, b in RIVALS if name in (a, b)]
        assert cases.source[k, rivals].abs().sum() == 0
        asked.add(cases.asks[k])
    assert asked == {f"{name} {way}" for name in AUS for way in ("up", "down")}


def test_emotions_take_turns(cases):
    asks = [a for a, kind in zip(cases.asks, cases.kinds) if kind == "emotion"]
    assert len(set(asks)) == 7 and min(asks.count(a) for a in set(asks)) >= 28


def test_slices(cases):
    part = cases[3:5]
    assert len(part) == 2 and part.asks == cases.asks[3:5] and torch.equal(part.source, cases.source[3:5])
    assert cases[[-1]].asks == cases.asks[-1:]


def test_reference_rows(reports):
    copy, true, dim = reports
    assert [r["edit"] for r in reports] == [COPY, TRUE, "dim"]
    for metric, value in zip(METRICS, (1, 0, 0, 0, 99, 99), strict=True):
        assert copy["metrics"][metric]["mean"] == pytest.approx(value, abs=1e-6)
    for metric, value in zip(METRICS, (0, 1, 1, 0.1, 99, 99), strict=True):
        assert true["metrics"][metric]["mean"] == pytest.approx(value, abs=0.11)
    assert dim["metrics"]["leak"]["mean"] > 1 and dim["metrics"]["zero edit"]["mean"] < 40
    assert all(v["count"] + v["left_out"] == 10 for v in copy["metrics"].values())


def test_splits_cover_all_cases(reports):
    for report in reports:
        for split in [report["by_kind"], report["by_ask"], *report["by_group"].values()]:
            assert sum(part["cases"] for part in split.values()) == report["cases"] == 10
        assert set(report["by_group"]) == {"skin tone", "age", "beard", "glasses", "pose"}
        total, kinds = report["metrics"]["edit error"], report["by_kind"].values()
        errors = [part["metrics"]["edit error"] for part in kinds]
        assert sum(e["mean"] * e["count"] for e in errors) / total["count"] == pytest.approx(total["mean"])


def test_batches_do_not_matter():
    def dim(images, source, rel):
        return images * 0.9
    a, b = (run_one(dim, size=32, limit=7, batch_size=n, device="cpu")["metrics"] for n in (2, 7))
    for metric in METRICS:
        assert a[metric]["mean"] == pytest.approx(b[metric]["mean"], rel=1e-4)


def test_nuisances_are_the_same_in_question_and_answer():
    """The truth still scores perfectly, the copy as ever; the pictures differ from the clean ones, and batches do not
    matter."""
    seen = {}
    def keep(images, source, rel):
        seen.setdefault("x", images.clone())
        return images
    reports = run_all({"keep": keep}, size=32, limit=6, batch_size=6, device="cpu", spoilt=True)
    clean = dict(seen)
    seen.clear()
    again = run_all({"keep": keep}, size=32, limit=6, batch_size=4, device="cpu", spoilt=True)
    assert torch.equal(clean["x"][:4], seen["x"]), "the same case is spoilt alike in any batch"
    seen.clear()
    run_all({"keep": keep}, size=32, limit=6, batch_size=6, device="cpu")
    assert not torch.equal(clean["x"], seen["x"])
    copy_row, true_row = reports[:2]
    assert copy_row["benchmark"] == bench_name(32, spoilt=True) == bench_name(32) + "-n"
    assert again[0]["benchmark"] == copy_row["benchmark"]
    assert copy_row["metrics"]["edit error"]["mean"] == 1 and true_row["metrics"]["edit error"]["mean"] == 0


def test_what_an_editor_is_given():
    calls = []
    def edit(images, source, rel):
        calls.append((images, source, rel))
        return images
    report = run_one(edit, size=32, limit=5, name="spy", device="cpu")
    cases = make_cases(5)
    assert report["edit"] == "spy" and len(calls) == 3
    images, source, rel = calls[0]
    assert images.shape == (5, 3, 32, 32) and images.min() >= -1 and images.max() <= 1 and not images.requires_grad
    assert torch.equal(source, cases.source) and torch.allclose(apply_relative(source, rel)[0], cases.target, atol=1e-6)
    assert calls[1][2].abs().sum() == 0                                                 # the zero edit
    assert torch.equal(calls[2][1], cases.target) and torch.allclose(calls[2][2], -rel)  # the way back


def test_a_broken_editor_is_named():
    def broken(images, source, rel):
        return images * math.nan
    def cropped(images, source, rel):
        return images[..., 1:]
    with pytest.raises(ValueError, match="editor 'bad', cases 0 to 2: .*NaN"):
        run_one(broken, 32, 3, name="bad", device="cpu")
    with pytest.raises(ValueError, match="editor 'bad', cases 0 to 2: .*shape"):
        run_one(cropped, 32, 3, name="bad", device="cpu")


def test_tables(reports):
    lines = results_table(reports).splitlines()
    assert len(lines) == 5 and bench_name(32) in lines[0]
    assert lines[2].startswith("| copy | 10 | 1.00 | 0.00 | 0.00 | 0.00 | 99.0 | 99.0 |")
    assert len({line.count("|") for line in lines}) == 1
    for by in ("kind", "ask", "AU", "skin tone", "age", "beard", "glasses", "pose"):
        assert len({line.count("|") for line in results_table_by(reports[0], by).splitlines()}) == 1
    with pytest.raises(ValueError, match="skin tone"):
        results_table_by(reports[0], "height")


def test_by_au_up_and_down_together():
    def half(images, source, rel):
        return images * 0.5
    report = run_one(half, size=32, limit=90, device="cpu")     # 36 single questions, so two AUs are asked a third time
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in results_table_by(report, "AU").splitlines()[2:]]
    assert [row[0] for row in rows] == list(AUS) and [int(row[1]) for row in rows] == [3, 3] + [2] * 15
    up, down = (report["by_ask"][f"AU12 {way}"]["metrics"]["gain"]["mean"] for way in ("up", "down"))
    assert float(rows[au_index("AU12")][4]) == pytest.approx((up + down) / 2, abs=0.006)


def test_reports_of_before_there_was_a_gain(reports):
    old = json.loads(json.dumps(reports[0]))
    for part in (old, *old["by_kind"].values(), *old["by_ask"].values()):
        del part["metrics"]["gain"]
    assert "| copy | 10 | 1.00 | 0.00 | - | 0.00 | 99.0 | 99.0 |" in results_table([old])
    assert all(" - |" in line for by in ("kind", "AU") for line in results_table_by(old, by).splitlines()[2:])


def test_recorded_reports_stay_readable():
    recorded = json.loads((ROOT / "nbs" / "results" / "bench-64.json").read_text())
    assert len(results_table(recorded).splitlines()) == 2 + len(recorded)
    assert len(results_table_by(recorded[-1], "AU").splitlines()) == 2 + len(AUS)


def test_reports_are_saved_whole_or_not_at_all(reports, tmp_path):
    path = save_reports(reports, tmp_path / "new" / "r.json")
    assert json.loads(path.read_text()) == json.loads(json.dumps(reports))
    assert path.with_suffix(".md").read_text().strip() == results_table(reports)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        save_reports([reports[0] | {"ms_per_face": math.inf}], path)
    assert path.read_bytes() == before and sorted(p.name for p in path.parent.iterdir()) == ["r.json", "r.md"]


def editor_from(monkeypatch, from_pretrained):
    """The command finds an editor whose weights come from this function."""
    monkeypatch.setattr(bench, "find_part", {"editor": types.SimpleNamespace(from_pretrained=from_pretrained)}.get)


def test_command(monkeypatch, tmp_path, capsys):
    asked = []
    def from_pretrained(*where):
        asked.append(where)
        return types.SimpleNamespace(edit_batch=lambda images, source, rel: images)
    editor_from(monkeypatch, from_pretrained)
    out = tmp_path / "r.json"
    assert bench.main(["--size", "32", "--cases", "3", "--device", "cpu", "--out", str(out)]) == 0
    assert asked == [()] and "| bundled weights | 3 | 1.00 |" in capsys.readouterr().out
    assert len(json.loads(out.read_text())) == 3
    assert bench.main(["--weights", "w", "--size", "32", "--cases", "3", "--device", "cpu"]) == 0 and asked[1] == ("w",)


def test_command_without_weights_or_sense(monkeypatch, capsys):
    def from_pretrained(*where):
        raise FileNotFoundError(f"no card.json in {where[0]}: give the folder that expr-train wrote")
    editor_from(monkeypatch, from_pretrained)
    assert bench.main(["--weights", "nowhere", "--cases", "3"]) == 2
    assert "no card.json in nowhere" in capsys.readouterr().err
    assert bench.main(["--references-only", "--cases", "0"]) == 2 and "1 to 1000" in capsys.readouterr().err
    assert bench.main(["--references-only", "--cases", "3", "--device", "abacus"]) == 2
    with pytest.raises(SystemExit):
        bench.main(["--size", "17"])
