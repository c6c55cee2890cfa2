"""``evaluate.py epochs`` and ``compare``: checkpoints scored once, on pages that open from disk."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import look
from cli import Outcome, run
from test_user_errors import says
from tiny import save_folders, save_noise, train_options, translate_options

from evaluation.checkpoint_scores import best_of, known_scores, score_rows, ties_of
from evaluation.compare import (
    Compared,
    differing_flags,
    log_charts,
    logged_curves,
    score_charts,
    start_texts,
    write_html,
)
from evaluation.experiments import Experiment, mode_for_test
from evaluation.folder_scores import Folders, score_folders
from evaluation.generator_scores import GeneratorScorer
from evaluation.scoring import ScoreOptions
from evaluation.seeds import over_seeds, seed_rows
from evaluation.set_translator import SetTranslator, Translated
from test import translate
from train import train
from util.starts import read_starts

SETUP = "--seed 3 --lr 0.02 --init_gain 0.5"
EPOCHS = "--n_epochs 3 --n_epochs_decay 0 --save_epoch_freq 1 --ema 0.8 --save_latest_freq 4 --save_by_iter"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a test set of pairs, and two experiments; to be copied before it is changed."""
    root = save_folders(save_folders(tmp_path_factory.mktemp("trained")), "test", (3, 3))
    train(train_options(root, f"{SETUP} --name one {EPOCHS} --print_freq 2"))
    train(train_options(root, f"{SETUP} --name two --max_iters 5 --norm batch --eval_freq 2 --print_freq 2"))
    return root


@pytest.fixture
def root(tmp_path: Path, trained: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "data"))


@pytest.fixture
def charts() -> None:
    """Draw the charts."""


@pytest.fixture(autouse=True)
def no_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave charts out of pages, unless the test has ``charts``: they take most of the time."""
    for module in ("compare", "epochs") if "charts" not in request.fixturenames else ():
        monkeypatch.setattr(f"evaluation.{module}.line_chart", lambda *_, **__: "")


def evaluate(command: str, root: Path, *flags: object) -> Outcome:
    """Run it with the folders below ``root``; flags given later win."""
    return run("evaluate.py", command, "--dataroot", root, "--checkpoints_dir", root / "checkpoints", "--results_dir",
               root / "results", "--gpu_ids", "-1", "--layer", "relu1_2", *flags)


def epochs_of(root: Path, *flags: object, kind: str = "test_epochs") -> dict[str, Any]:
    outcome = evaluate("epochs", root, "--name", "one", *flags)
    assert outcome.code == 0, outcome.err
    found = json.loads((root / "results" / "one" / kind / "epochs.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def count_scores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each checkpoint that is scored."""
    scores, calls = GeneratorScorer.estimates, list[int]()

    def counted(self: GeneratorScorer) -> Any:
        calls.append(1)
        return scores(self)

    monkeypatch.setattr(GeneratorScorer, "estimates", counted)
    return calls


# --- epochs


def test_every_checkpoint_has_its_place_and_the_best_is_marked(root: Path) -> None:
    outcome = evaluate("epochs", root, "--name", "one")
    book = json.loads((root / "results" / "one" / "test_epochs" / "epochs.json").read_text(encoding="utf-8"))
    entries = book["checkpoints"]
    assert [entry["tag"] for entry in entries] == ["1", "2", "3", "iter_4", "iter_8", "iter_12", "latest"]
    assert [entry["images"] for entry in entries] == [5, 10, 15, 4, 8, 12, 15]
    assert [entry["epochs"] for entry in entries] == [1, 2, 3, 0, 1, 2, 3]
    least = min(entries, key=lambda entry: entry["frechet"])
    assert book["best"] == least["tag"]
    assert all({"frechet", "line_iou", "colour_error", "sha256", "torch_version"} <= entry.keys() for entry in entries)
    assert book["conditions"]["vgg_weights_sha256"]
    assert f"best: {least['tag']}" in outcome.out
    starred = [line for line in outcome.out.splitlines() if line.split()[:1] == [least["tag"]]]
    assert f"{least['frechet']:.4g}*" in starred[0].split()


def test_scores_are_those_of_the_files_that_test_py_writes(root: Path) -> None:
    entry = epochs_of(root, "--layer", "relu4_3")["checkpoints"][-1]
    translate(translate_options(root, root, "--name one --model sc --dataset_mode unaligned"))
    expected = score_folders(Folders([root / "results/one/test_latest/images/fake_B"], real=root / "testB",
                                     truth=root / "testB"), ScoreOptions(bootstrap=0), {})
    for measure in ("frechet", "line_iou", "colour_error"):
        assert entry[measure] == pytest.approx(expected[f"{measure}_outputs"], rel=1e-4), measure


def test_each_checkpoint_is_shown_and_translated_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    translated, some = list[int](), SetTranslator.translations_of

    def count(self: SetTranslator, numbers: Iterable[int]) -> Iterator[Translated]:
        translated.extend(numbers)
        return some(self, numbers)

    monkeypatch.setattr(SetTranslator, "translations_of", count)
    book = epochs_of(root, "--num_images", "2")
    folder = root / "results" / "one" / "test_epochs"
    assert translated == [0, 2] * 6
    for entry in book["checkpoints"]:
        assert list(entry["shown"]) == ["0", "2"]
        assert all((folder / of["file"]).is_file() for of in entry["shown"].values())
    assert book["checkpoints"][2]["shown"] == book["checkpoints"][-1]["shown"], "latest is the third epoch"
    page = (folder / "index.html").read_text(encoding="utf-8")
    for entry in book["checkpoints"]:
        label = f"{'epoch ' * entry['tag'].isdecimal()}{entry['tag']}{' (best)' * (entry['tag'] == book['best'])}"
        assert page.count(f'alt="{label}"') == 2
    assert page.count('<td class="marked"><a') == 2
    assert [page.count(f'alt="{label}"') for label in ("input", "truth")] == [2, 2]
    assert epochs_of(root, "--num_images", "2") == book
    assert len(translated) == 12
    (folder / book["checkpoints"][0]["shown"]["2"]["file"]).unlink()
    assert epochs_of(root, "--num_images", "2") == book
    assert translated[12:] == [0, 2]


def test_test_images_are_chosen_by_name(root: Path) -> None:
    save_noise(root / "testA" / "p" / "0.png", 5)
    save_noise(root / "testB" / "p" / "0.png", 6)
    book = epochs_of(root, "--images", "2", "p/0.png")
    assert list(book["checkpoints"][0]["shown"]) == ["2", "p/0"]
    assert list(epochs_of(root, "--images", "0.png")["checkpoints"][0]["shown"]) == ["0"], "the whole path counts first"
    says(evaluate("epochs", root, "--name", "one", "--images", "9"), "--images 9: no test image has this name")
    save_noise(root / "testA" / "q" / "x.png", 5)
    save_noise(root / "testA" / "p" / "x.png", 5)
    says(evaluate("compare", root, "one", "two", "--pairs", "no", "--images", "x"), "--images x: several images")


def test_scores_whose_intervals_overlap_are_ties() -> None:
    entries = [{"frechet": value, "frechet_interval": [value - 1, value + 1]} for value in (5, 3, 4.5, 9)]
    entries.append({"frechet": 3})
    assert ties_of(entries, "frechet") == [0, 2, 4]
    assert ties_of(entries, "line_iou") == []
    assert ties_of([{"frechet": 1.0}, {"frechet": 1.0}, {"frechet": 1.1}], "frechet") == [1]
    table = score_rows(entries, (), intervals=True)
    assert [row[0] for row in table.rows] == ["5 (4 to 6)", "3 (2 to 4)", "4.5 (3.5 to 5.5)", "9 (8 to 10)", "3"]
    assert (table.best, table.tied) == ({(1, 0)}, {(0, 0), (2, 0), (4, 0)})


def test_what_has_not_changed_is_not_scored_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_scores(monkeypatch)
    first = epochs_of(root)
    assert len(calls) == 6, "latest is the third epoch, and scored with it"
    assert epochs_of(root) == first
    assert len(calls) == 6
    folder = root / "checkpoints" / "one"
    for path in folder.glob("2_*"):
        path.unlink()
    for name in ("net_G.pth", "net_G_ema.pth", "state.pth"):
        (folder / f"2_{name}").write_bytes((folder / f"iter_4_{name}").read_bytes())
    (folder / "1_net_G.pth").unlink()
    torch.save({key: value * 1.1 for key, value in torch.load(folder / "iter_8_net_G.pth").items()},
               folder / "5_net_G.pth")
    changed = epochs_of(root)
    assert len(calls) == 7
    assert [entry["tag"] for entry in changed["checkpoints"]][:3] == ["2", "3", "5"]
    save_noise(root / "testA" / "0.png", 99)
    epochs_of(root)
    assert len(calls) == 12, "of another test set all scores are new"


def test_moving_averages_have_scores_of_their_own(root: Path) -> None:
    plain = epochs_of(root)
    averaged = epochs_of(root, "--use_ema", kind="test_epochs_ema")
    assert [entry["tag"] for entry in averaged["checkpoints"]] == [entry["tag"] for entry in plain["checkpoints"]]
    assert averaged["checkpoints"][2]["frechet"] != plain["checkpoints"][2]["frechet"]


def test_true_pairs_are_asked_for_or_found(tmp_path: Path) -> None:
    save_folders(tmp_path, "test", (3, 3))

    def mode(pairs: str) -> str:
        return mode_for_test({"dataset_mode": "unaligned"}, tmp_path, "test", pairs)

    assert [mode(pairs) for pairs in ("auto", "no", "yes")] == ["aligned", "unaligned", "aligned"]
    save_noise(tmp_path / "testB" / "1.png", 5, (16, 20))
    assert mode("auto") == "unaligned", "another size"
    (tmp_path / "testB" / "1.png").rename(tmp_path / "testB" / "x.png")
    assert mode("auto") == "unaligned", "another name"
    for name in ("testA/x.png", "testA/x.jpg", "testB/x.jpg"):
        save_noise(tmp_path / name, 7)
    (tmp_path / "testA" / "1.png").unlink()
    assert mode("auto") == "unaligned", "two candidates for a partner"


def test_a_damaged_checkpoint_is_named_and_left_out(root: Path) -> None:
    folder = root / "checkpoints" / "one"
    content = bytearray((folder / "2_net_G.pth").read_bytes())
    (folder / "2_net_G.pth").unlink()  # a link of another
    content[len(content) // 2] ^= 1
    (folder / "2_net_G.pth").write_bytes(content)
    (folder / "7_net_G.pth").write_bytes(b"no checkpoint")
    outcome = evaluate("epochs", root, "--name", "one")
    assert outcome.code == 0
    warnings = outcome.err.splitlines()
    assert len(warnings) == 2
    assert "2_net_G.pth cannot be read as a checkpoint (the checksum of" in warnings[0]
    assert "7_net_G.pth cannot be read as a checkpoint" in warnings[1]
    book = json.loads((root / "results" / "one" / "test_epochs" / "epochs.json").read_text(encoding="utf-8"))
    assert [entry["tag"] for entry in book["checkpoints"]] == ["1", "3", "iter_4", "iter_8", "iter_12", "latest"]


def test_nothing_but_damaged_checkpoints_is_an_error(root: Path) -> None:
    for path in (root / "checkpoints" / "one").glob("*_net_G.pth"):
        path.unlink()
        path.write_bytes(b"no checkpoint")
    outcome = evaluate("epochs", root, "--name", "one")
    assert outcome.code == 2
    assert "evaluate.py: error:" in outcome.err.splitlines()[-1]


def test_what_cannot_be_scored_is_one_sentence(root: Path, tmp_path: Path) -> None:
    says(evaluate("epochs", root, "--name", "nobody"), "there is no experiment nobody", "one, two")
    says(evaluate("epochs", root, "--name", "one", "--dataroot", tmp_path / "x"), "--dataroot", "does not exist")
    says(evaluate("epochs", root, "--name", "one", "--phase", "val"), "no folder", "valA")
    says(evaluate("epochs", root, "--name", "two", "--use_ema"), "there is no checkpoint of the generator")
    says(evaluate("epochs", root, "--name", "one", "--num_test", "1"), "a single image")
    for path in (root / "checkpoints" / "one").glob("*.pth"):
        path.unlink()
    says(evaluate("epochs", root, "--name", "one"), "there is no checkpoint of the generator")
    (root / "checkpoints" / "one" / "train_opt.json").write_text("[")
    says(evaluate("epochs", root, "--name", "one"), "train_opt.json cannot be used")
    shutil.rmtree(root / "testB")
    says(evaluate("epochs", root, "--name", "two", "--pairs", "no"), "no folder", "testB")


def test_a_run_that_is_broken_off_keeps_its_scores(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, scores = count_scores(monkeypatch), GeneratorScorer.estimates

    def interrupted(self: GeneratorScorer) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scores(self)

    with monkeypatch.context() as patch:
        patch.setattr(GeneratorScorer, "estimates", interrupted)
        assert evaluate("epochs", root, "--name", "one").code == 130
    epochs_of(root)
    assert len(calls) == 6, "two before and four after"


def test_a_result_that_cannot_be_written_is_told_before_the_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_scores(monkeypatch)
    (root / "results").write_text("a file")
    says(evaluate("epochs", root, "--name", "one"), "epochs.json' cannot be written")
    says(evaluate("compare", root, "one", "two"), "compare.json' cannot be written")
    assert not calls


def test_damaged_scores_or_those_of_other_conditions_are_not_known(tmp_path: Path) -> None:
    file, entry = tmp_path / "epochs.json", {"sha256": {"G": "0"}, "frechet": 1.0}
    for text in ("", "[]", '{"conditions": 3}', '{"checkpoints": [1], "conditions": {}}'):
        file.write_text(text, encoding="utf-8")
        assert known_scores(file, {}) == {}
    file.write_text(json.dumps({"conditions": {"layer": 1}, "checkpoints": [entry]}), encoding="utf-8")
    assert known_scores(file, {"layer": 1}) == {"0": entry}
    assert known_scores(file, {"layer": 2}) == {}


# --- compare


def test_experiments_stand_side_by_side(root: Path) -> None:
    epochs_of(root)
    outcome = evaluate("compare", root, "one", "two", "--num_images", "2")
    assert outcome.code == 0, outcome.err
    folder = root / "results" / "compare"
    found = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    assert [of["experiment"] for of in found["experiments"]] == ["one", "two"]
    assert found["differences"]["norm"] == ["instance", "batch"]
    assert "seed" not in found["differences"]
    assert "name" not in found["differences"]
    assert found["conditions"][0]["test_set_sha256"] == found["conditions"][1]["test_set_sha256"]
    page = (folder / "index.html").read_text(encoding="utf-8")
    for label in ("input", "one", "two", "truth"):
        assert page.count(f'alt="{label}"') == 2
    measured = {"structure_error", "colour_error", "ssim"}
    for of in found["experiments"]:
        assert [set(each["scores"]) for each in of["shown"].values()] == [measured] * 2
        assert of["frechet_interval"][0] <= of["frechet"] <= of["frechet_interval"][1]
    assert page.count('<td class="marked"><a') == 2, "the least structure error of each image"
    assert "Scores of the checkpoints" in page
    assert found["starts"] == [read_starts(root / "checkpoints" / name) for name in ("one", "two")]
    assert [len(of) for of in found["starts"]] == [1, 1]
    assert "Starts of the trainings" in page
    assert (found["starts"][0][0]["commit"] or "—")[:12] in page
    assert found["seeds"] == []
    assert "standard deviation" not in page + outcome.out


def test_a_comparison_has_a_name_that_is_no_experiment(root: Path) -> None:
    says(evaluate("compare", root, "one", "two", "--name", "one"), "--name one is an experiment", "another name")
    (of_another := root / "results" / "group" / "member").mkdir(parents=True)
    says(evaluate("compare", root, "one", "two", "--name", "group"), f"--name group: {of_another} is no part of",
         "another name")
    flags = json.loads((root / "checkpoints" / "one" / "train_opt.json").read_text(encoding="utf-8"))
    shutil.copytree(root / "checkpoints" / "one", root / "checkpoints" / "again")
    (root / "checkpoints" / "again" / "train_opt.json").write_text(json.dumps({**flags, "seed": 4, "name": "again"}))
    outcome = evaluate("compare", root, "one", "again", "two", "--name", "seeds", "--num_images", "1")
    assert outcome.code == 0, outcome.err
    found = json.loads((root / "results" / "seeds" / "compare.json").read_text(encoding="utf-8"))
    frechet = found["experiments"][0]["frechet"]
    assert [group["experiments"] for group in found["seeds"]] == [["one", "again"]]
    assert found["seeds"][0]["scores"]["frechet"] == {"mean": frechet, "std": 0}
    for text in (outcome.out, (root / "results" / "seeds" / "index.html").read_text(encoding="utf-8")):
        assert f"{frechet:.4g} ± 0" in text
    assert not (root / "results" / "compare").exists()


def test_experiments_are_averaged_over_seeds_if_nothing_else_differs(tmp_path: Path) -> None:
    flags = {"a1": {"seed": 1, "lr": 1, "num_threads": 1}, "b1": {"seed": 1, "lr": 2}, "a2": {"seed": 2, "lr": 1},
             "a3": {"seed": 3, "lr": 1}, "b2": {"seed": 2, "lr": 2}, "a4": {"seed": 4, "lr": 1},
             "c1": {"seed": 1, "lr": 3}, "c1 again": {"seed": 1, "lr": 3},
             "d1": {"seed": 1, "normD": None}, "d2": {"seed": 2, "normD": "none"}}
    entries = [{"images": 20 if name == "a4" else 10, "frechet": value, **({"line_iou": 0.5} if name != "a2" else {})}
               for name, value in zip(flags, (1.0, 5.0, 2.0, 6.0, 5.0, 9.0, 4.0, 4.0, 7.0, 8.0), strict=True)]
    groups = over_seeds([Experiment(name, tmp_path, of) for name, of in flags.items()], entries, {"num_threads"})
    assert groups == [
        {"experiments": ["a1", "a2", "a3"], "scores": {"frechet": {"mean": 3.0, "std": pytest.approx(7**0.5)}}},
        {"experiments": ["b1", "b2"], "scores": {"frechet": {"mean": 5.0, "std": 0.0},
                                                 "line_iou": {"mean": 0.5, "std": 0.0}}}]
    _, rows = seed_rows(groups)
    assert rows == [["a1, a2, a3", "3 ± 2.6", ""], ["b1, b2", "5 ± 0", "0.5 ± 0"]]


def test_starts_name_the_time_the_commit_and_the_command(tmp_path: Path) -> None:
    lines = [{"time": "2026-11-28T12:40:15+00:00", "command": "train.py --lr 1", "commit": "0123456789abcdef",
              "dirty": True, "torch": "2", "device": "cpu"}, {"time": "then", "commit": None, "dirty": None}, {}]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, *others = start_texts([Experiment("one", tmp_path, {}), Experiment("two", tmp_path / "none", {})])
    assert (first[0], first[2]) == ("one", "train.py --lr 1")
    assert re.fullmatch(r"2026-11-2\d \d\d:\d\d \S+, commit 0123456789ab with changes, torch 2, cpu", first[1])
    assert others == [("one", "then", ""), ("one", "", "")]


def test_an_experiment_has_one_colour_in_all_charts(tmp_path: Path, charts: None) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    compared = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        lines = [{"step": step, "G": 1.0, "lr/G": 0.1, **({"only": 2.0} if name == "two" else {})} for step in (1, 2)]
        lines[0]["once"] = 1.0
        (tmp_path / name / "loss_log.jsonl").write_text("".join(json.dumps(of) + "\n" for of in lines))
        earlier = [{"images": images, "frechet": 3.0} for images in (1, 2) if name == "two"]
        compared.append(Compared(Experiment(name, tmp_path / name, {}), {}, earlier, {}, []))
    both, alone = log_charts(compared, first=True)
    rates, = log_charts(compared, first=False)
    assert ">lr/G<" in rates
    score, = score_charts(compared)
    first, second = ("stroke: #1f77b4", "stroke: #ff7f0e")
    assert first in both
    assert second in both
    for chart in (alone, score):
        assert first not in chart
        assert second in chart


def test_a_flag_of_the_method_differs_between_trainings_that_have_it(tmp_path: Path) -> None:
    silent = ("loggers", "print_freq", "save_latest_freq", "display_id", "num_threads", "gpu_ids", "cache", "name")
    flags = {"one": {"lr": 1, "both": 1, "T": 0.1, "own": 1}, "two": {"lr": 1, "both": 2, "normD": None},
             "three": {"lr": 1, "T": 0.2, "normD": "none"}}
    flags = {name: {**of, **dict.fromkeys(silent, name)} for name, of in flags.items()}
    experiments = [Experiment(name, tmp_path, of) for name, of in flags.items()]
    differences = differing_flags(experiments)
    assert differences == {"both": ["1", "2", None], "T": ["0.1", None, "0.2"], "normD": [None, "unset", "none"]}
    conditions = {"images_outputs": 1, "images_real": 1, "feature_layer": "", "vgg_weights": ""}
    compared = [Compared(of, {"shown": {}}, [], conditions, []) for of in experiments]
    write_html(tmp_path / "page.html", compared, differences, [])
    cells = re.findall("<td>(.*?)</td>", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert cells[-12:-4] == ["--both", "1", "2", "—", "--T", "0.1", "—", "0.2"]


def test_compare_scores_the_checkpoint_that_is_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = epochs_of(root)
    calls = count_scores(monkeypatch)
    assert evaluate("compare", root, "one", "two", "--epoch", "best").code == 2, "one has no best"
    assert len(calls) == 0
    (root / "checkpoints" / "two" / "2_net_G.pth").write_bytes(
        (root / "checkpoints" / "two" / "best_net_G.pth").read_bytes())
    assert evaluate("compare", root, "one", "two", "--epoch", "2").code == 0
    assert len(calls) == 1, "the scores of the other were there"
    found = json.loads((root / "results" / "compare" / "compare.json").read_text(encoding="utf-8"))
    assert found["experiments"][0]["frechet"] == book["checkpoints"][1]["frechet"]


def test_an_earlier_comparison_and_scores_of_other_conditions_are_kept(root: Path) -> None:
    folder, book = root / "results" / "compare", root / "results" / "one" / "test_epochs" / "epochs.json"
    for command in (("epochs", "--name", "one"), ("compare", "one", "two")):
        assert "the earlier" not in evaluate(*command[:1], root, *command[1:]).out
    kept = {path: path.read_bytes() for path in (folder / "index.html", folder / "compare.json", book)}
    assert f"now in {folder}.1\n" in evaluate("compare", root, "two", "one").out
    assert "the earlier" not in evaluate("epochs", root, "--name", "one").out
    kept[book] = book.read_bytes()
    assert f"other conditions, and are now in {book.parent}.1\n" in evaluate(
        "epochs", root, "--name", "one", "--layer", "relu2_1").out
    for path in (folder / "index.html", folder / "compare.json"):
        assert (folder.with_name("compare.1") / path.name).read_bytes() == kept[path]
    for path in (book, book.with_name("index.html")):
        assert (book.parent.with_name("test_epochs.1") / path.name).is_file()
    assert (book.parent.with_name("test_epochs.1") / book.name).read_bytes() == kept[book]


def test_what_cannot_be_compared_is_one_sentence(root: Path) -> None:
    says(evaluate("compare", root, "one"), "name at least two")
    says(evaluate("compare", root, "one", "one"), "each once")
    says(evaluate("compare", root, "one", "three"), "there is no experiment three")
    says(evaluate("compare", root, "one", "two", "--epoch", "../two/latest"), "--epoch", "letters")
    options = root / "checkpoints" / "two" / "train_opt.json"
    options.write_text(options.read_text().replace('"AtoB"', '"BtoA"'))
    says(evaluate("compare", root, "one", "two"), "--direction differs")


def test_curves_are_those_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "loss_log.jsonl"
    lines = [json.dumps({"step": step, "time": 1.0, "G": value}) for step, value in ((1, 2.0), (2, "nan"), (3, 4.0))]
    log.write_text("\n".join([*lines, '{"step": 4, "G"', "[]", '{"G": 1}', '{"step": 5, "D": 1}']), encoding="utf-8")
    curves = logged_curves(log)
    assert list(curves) == ["G", "D"]
    assert [step for step, _ in curves["G"]] == [1, 2, 3]
    assert logged_curves(tmp_path / "none.jsonl") == {}


def test_the_best_of_several_is_the_first() -> None:
    entries = [{"frechet": 2.0}, {"frechet": 1.0, "line_iou": 0.5}, {"frechet": 1.0, "line_iou": 0.6}, {}]
    assert [best_of(entries, measure) for measure in ("frechet", "line_iou", "colour_error")] == [1, 2, None]


# --- in a browser


@pytest.mark.parametrize("width", [pytest.param(400, marks=pytest.mark.slow), 1200])
def test_pages_are_whole_in_a_browser(root: Path, width: int, charts: None) -> None:
    translate(translate_options(root, root, "--name one --model sc --dataset_mode aligned"))
    epochs_of(root)
    assert evaluate("compare", root, "one", "two").code == 0
    results = root / "results"
    text = (results / "compare" / "index.html").read_text(encoding="utf-8")
    assert ">G_spatial<" in text, "a curve of the training"
    assert ">eval_frechet<" in text, "a score of the training"
    for page in (results / "one" / "test_epochs", results / "compare", results / "one" / "test_latest"):
        assert look(page / "index.html", width=width) == {}, page


def test_without_matplotlib_the_pages_have_no_curves(
    root: Path, monkeypatch: pytest.MonkeyPatch, charts: None
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for command in (("epochs", "--name", "one"), ("compare", "one", "two")):
        outcome = evaluate(command[0], root, *command[1:])
        assert outcome.code == 0
        assert "no curves: the package matplotlib is not installed (pip install matplotlib)" in outcome.err
