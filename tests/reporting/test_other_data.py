"""Reports on data of any shape: colour, many classes, small and large ones, without baselines."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import recall_score

from predicting.config import read_config
from report import _say
from reporting.chapters import accuracy, classes, data, facts, limits, verdict
from reporting.chapters.contents import document_of
from reporting.drawing.style import spread
from reporting.errors import ReportError
from reporting.evidence import Evidence
from reporting.final_model import write_winner
from reporting.page.render import write_document
from reporting.retrainer import make_progress
from reporting.run import Outcome, _same_data
from reporting.views import Views, trained_with_flips, views_of
from search.data.dataset import Dataset
from search.data.formats import open_dataset
from tests.reporting.band_model import save_model
from tests.reporting.made_evidence import made_dataset, made_evidence, planted
from tests.reporting.written import draw_all, drawn, every_text, pictures, tables, words

OF_CLOTHING = re.compile(r"fashion|clothing|cloth|shirt|garment|shoe|dress\b", re.IGNORECASE)
PROGRESS = make_progress(quiet=True)
MANY = [f"class {number}" for number in range(40)]


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Three classes of small photographs, no baselines."""
    dataset = made_dataset((20, 20, 3), ("moss", "sand $a$", "<bark>"), name="soil", mirror=None)
    return made_evidence(tmp_path_factory.mktemp("colour"), dataset=dataset, baselines=False)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Forty classes of grey images, no baselines."""
    dataset = made_dataset((32, 24, 1), MANY, name="letters", mirror=False)
    return made_evidence(tmp_path_factory.mktemp("many"), dataset=dataset, baselines=False)


def files(evidence: Evidence, directory: Path) -> str:
    """All text of a written report, figures too."""
    write_document(document_of(evidence), directory)
    kinds = (".html", ".md", ".csv", ".svg")
    texts = [file.read_text() for file in directory.rglob("*") if file.suffix in kinds]
    # Images are letters too.
    return re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", "\n".join(texts))


@pytest.mark.parametrize("case", ["colour", "many"])
def test_a_report_on_other_data_says_nothing_of_clothing_or_of_baselines(
    case: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    evidence = request.getfixturevalue(case)
    # Written to files once: they take long, and say what the document says.
    text = files(evidence, tmp_path) if case == "colour" else every_text(document_of(evidence))
    assert not OF_CLOTHING.findall(text)
    # Names of trials remain: the made-up study has tried the baselines' configurations.
    for words_of_baselines in ("baseline", "published", "McNemar", "Δ accuracy"):
        assert words_of_baselines not in text
    assert f"data set {evidence.dataset.name}" in text


def test_a_report_on_fashion_mnist_compares_with_its_baselines(evidence: Evidence) -> None:
    text = every_text(document_of(evidence))
    assert "another data set" not in text
    for expected in ("Fashion-MNIST", "T-shirt/top", "vgg-cnn", "92.54 %", "published", "McNemar"):
        assert expected in text


def test_a_report_without_results_on_other_data(tmp_path: Path) -> None:
    dataset = made_dataset((20, 20, 3), ("moss", "sand"), name="soil")
    untrained = made_evidence(tmp_path / "a", dataset=dataset, baselines=False, retrained=False)
    assert not OF_CLOTHING.findall(files(untrained, tmp_path / "b"))


def test_baselines_on_other_data_are_compared_without_their_published_numbers(
    tmp_path: Path,
) -> None:
    dataset = made_dataset(class_names=[*"abcdefghij"], name="kmnist", mirror=False)
    evidence = made_evidence(tmp_path, dataset=dataset)
    assert evidence.differences
    section = accuracy.blocks(evidence)
    assert "baselines" not in tables(section)
    assert "published_accuracy" not in tables(section)["accuracy"].values
    points = drawn(pictures(section)["seeds-points"]).axes[0].lines
    assert not np.isclose(np.concatenate([line.get_xdata() for line in points]), 92.54).any()
    for said in (words(limits.blocks(evidence)), tables(section)["accuracy"].note):
        assert "published for another data set" in said
    said = words(verdict.blocks(evidence))
    assert "beats" in said
    assert ", published for another data set and not tuned, for " in said
    assert not OF_CLOTHING.findall(every_text(document_of(evidence)))


def test_figures_show_the_most_confused_classes_and_tables_have_all(many: Evidence) -> None:
    tuned = many.tuned
    assert tuned is not None
    given = tuned.labels.astype(int)
    given[np.flatnonzero(given == 30)[:9]] = 35
    given[np.flatnonzero(given == 7)[:5]] = 3
    confused = planted(many, [given])
    section = classes.blocks(confused)
    assert classes.most_confused(confused.tuned, 40).tolist()[-2:] == [30, 35]
    picture = pictures(section)["classes-confusion"]
    assert "Only the 20 of 40 classes with the most mistakes are drawn." in picture.caption
    ticks = [text.get_text() for text in drawn(picture).axes[0].get_yticklabels()]
    assert len(ticks) == 20
    assert {"class 30", "class 35", "class 7", "class 3"} <= set(ticks)
    scores = tables(section)["classes-scores"]
    assert scores.fold
    assert list(scores.values["class"]) == MANY
    assert "class 30 and class 35, 9 images" in words(section)
    examples = data.blocks(many)
    assert "The first 20 training images of the first 20 of 40 classes" in words(examples)
    assert tables(examples)["data-classes"].fold
    draw_all([*section, *examples])


def test_few_classes_are_all_drawn_and_their_tables_stay_open(colour: Evidence) -> None:
    section = [*classes.blocks(colour), *data.blocks(colour)]
    assert "of 3 classes" not in pictures(section)["classes-confusion"].caption
    assert not tables(section)["classes-scores"].fold
    draw_all(section)


def test_the_facts_describe_the_data(colour: Evidence, many: Evidence) -> None:
    for evidence, expected in (
        (colour, "soil: 3 classes, 20x20 pixels, colour; MD5 of the training part 1111"),
        (many, "letters: 40 classes, 32x24 pixels, grey; MD5 of the training part 1111"),
    ):
        shown = tables(facts.blocks(evidence))["facts"].shown.set_index("fact")["value"]
        assert shown["Data"].startswith(expected)
        assert shown["Final trainings"] == "winner: 3 seeds, 30 epochs"


def test_classes_of_different_sizes_have_a_balanced_accuracy(tmp_path: Path) -> None:
    dataset = made_dataset((20, 20, 3), ("moss", "sand", "bark"), name="soil")
    for name, counts, imbalanced in (("a", (300, 200, 100), True), ("b", (120, 100, 90), False)):
        evidence = made_evidence(tmp_path / name, dataset=dataset, counts=counts, baselines=False)
        tuned = evidence.tuned
        assert tuned is not None
        mean = np.mean(
            [
                recall_score(tuned.labels, given, average="macro")
                for given in tuned.probabilities.argmax(axis=2)
            ]
        )
        assert tuned.balanced_accuracy.mean == pytest.approx(mean)
        main = tables(accuracy.blocks(evidence))["accuracy"]
        assert ("balanced accuracy" in main.shown) == imbalanced
        said = words(verdict.blocks(evidence))
        value = spread(tuned.balanced_accuracy)
        assert (f"balanced accuracy, the mean recall of the classes, of {value}." in said) == (
            imbalanced
        )
        assert ("balanced" in said + main.note) == imbalanced
        assert ("the classes of the test part differ in size" in main.note) == imbalanced


def test_the_command_says_both_accuracies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = made_dataset((20, 20, 3), ("moss", "sand"), name="soil")
    evidence = made_evidence(tmp_path, dataset=dataset, counts=(300, 100), baselines=False)
    _say(Outcome(html=tmp_path / "report.html", evidence=evidence))
    first = capsys.readouterr().out.splitlines()[0]
    assert evidence.tuned is not None
    assert first.endswith(f", balanced accuracy {spread(evidence.tuned.balanced_accuracy)}")


def test_the_data_is_opened_as_the_search_has_opened_it(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_dataset(data: str | None, **given: Any) -> Dataset:
        opened.append((data, given["image_size"], given["mirror"]))
        return made_dataset((64, 64, 3), ("moss", "sand"), name="soil")

    monkeypatch.setattr("reporting.run.open_dataset", open_dataset)
    source = {"data": "/home/me/photos", "image_size": 64, "mirror": False}
    facts = dict(evidence.record.facts) | {"data": "1" * 32, "dataset": {"source": source}}
    record = dataclasses.replace(evidence.record, facts=facts)
    _same_data(evidence.settings, record, PROGRESS)
    _same_data(dataclasses.replace(evidence.settings, data="elsewhere"), record, PROGRESS)
    assert opened == [("/home/me/photos", 64, False), ("elsewhere", 64, False)]
    _same_data(evidence.settings, dataclasses.replace(record, facts={"data": "1" * 32}), PROGRESS)
    assert opened[-1] == (None, None, None)  # a study of an earlier version
    other = dataclasses.replace(record, facts=facts | {"data": "2" * 32})
    with pytest.raises(ReportError, match=r"^data set /home/me/photos is not .* \(MD5 1+, not 2"):
        _same_data(evidence.settings, other, PROGRESS)


def test_data_that_moved_is_opened_where_the_last_search_found_it(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_dataset(data: str | None, **given: Any) -> Dataset:
        opened.append(data)
        return made_dataset((64, 64, 3), ("moss", "sand"), name="soil")

    monkeypatch.setattr("reporting.run.open_dataset", open_dataset)
    first, moved = (
        {"dataset": {"source": {"data": data, "image_size": None, "mirror": None}}}
        for data in ("/old/photos", "/new/photos")
    )
    for runs in ([first, moved], [first, moved, {"seed": 0}], [first]):
        facts = dict(evidence.record.facts) | first | {"data": "1" * 32, "runs": runs}
        _same_data(evidence.settings, dataclasses.replace(evidence.record, facts=facts), PROGRESS)
    assert opened == ["/new/photos", "/new/photos", "/old/photos"]


def write_pictures(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("moss", "sand"):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_a_study_that_names_a_folder_of_this_user_leaves_no_copy_of_other_pictures(
    evidence: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_pictures(tmp_path / "private\x1b")
    source = {"data": str(photos), "image_size": None, "mirror": None}
    facts = dict(evidence.record.facts) | {"dataset": {"source": source}, "runs": []}
    record = dataclasses.replace(evidence.record, facts=facts)
    settings = dataclasses.replace(evidence.settings, results_dir=tmp_path / "results")
    with pytest.raises(ReportError, match="is not the one that the search used"):
        _same_data(settings, record, make_progress(quiet=False))
    said = rf"data: {tmp_path}/private\x1b, as the study says"
    assert capsys.readouterr().err.splitlines()[0] == said
    assert list((tmp_path / "results" / ".data").iterdir()) == []
    # Those of an earlier search stay.
    opened = open_dataset(str(photos), cache=tmp_path / "results" / ".data", quiet=True)
    with pytest.raises(ReportError, match="is not the one that the search used"):
        _same_data(settings, record, PROGRESS)
    assert len(opened.training())
    # Data that the user names is no surprise.
    old = facts | {"data": opened.fingerprint, "pixels": None}
    known = dataclasses.replace(record, facts=old)
    given = dataclasses.replace(settings, data=str(photos))
    # The networks of a study of an earlier version neither normalize nor whiten.
    assert _same_data(given, known, make_progress(quiet=False)).pixels is None
    assert capsys.readouterr().err == ""
    assert opened.pixels is not None
    normalized = {**known.facts, "pixels": opened.pixels.facts}
    found = _same_data(given, dataclasses.replace(known, facts=normalized), PROGRESS)
    assert found.pixels == opened.pixels


def test_a_class_without_test_images_counts_as_a_small_one(tmp_path: Path) -> None:
    dataset = made_dataset((20, 20, 1), ("moss", "sand", "bark"), name="soil")
    evidence = made_evidence(tmp_path, dataset=dataset, counts=(30, 30, 0), baselines=False)
    assert evidence.shows_balanced
    for section in document_of(evidence).sections:
        draw_all(section.blocks)


@pytest.mark.parametrize(
    ("mirror", "augmentation", "row"),
    [
        (True, "flip_shift", True),
        (True, "none", True),
        (None, "flip", True),
        (None, "shift", False),
        (None, "none", False),
        (False, "flip", False),
    ],
)
def test_mirror_images_are_averaged_where_they_make_sense(
    mirror: bool | None, augmentation: str, row: bool
) -> None:
    assert views_of(mirror, {"augmentation": augmentation}).mirror == row
    assert views_of(mirror, {"augmentation": augmentation}).shifts == ("shift" in augmentation)
    # A space without augmentation.
    assert views_of(mirror, {}) == Views(mirror=mirror is True)


def test_the_row_with_mirror_images_is_explained(evidence: Evidence, many: Evidence) -> None:
    rows = [
        dataclasses.replace(row, params={"augmentation": "none"}) if row.kind == "tuned" else row
        for row in evidence.rows
    ]
    made = dataclasses.replace(evidence, rows=rows)
    assert not trained_with_flips(made.rows[0].params)
    note = tables(accuracy.blocks(made))["accuracy"].note
    assert "was not trained on mirrored images, so this need not help" in note
    assert "mirror" not in tables(accuracy.blocks(many))["accuracy"].note


def test_the_configuration_beside_the_model_describes_its_data(
    colour: Evidence, evidence: Evidence, tmp_path: Path
) -> None:
    for made, name, preprocessing in ((colour, "a", "resize"), (evidence, "b", "frame")):
        assert made.tuned is not None
        model = made.tuned.runs[0].folder / "model.keras"
        model.parent.mkdir(parents=True, exist_ok=True)  # other tests share the evidence
        shape, classes = made.dataset.image_shape, len(made.dataset.class_names)
        save_model(model, input_shape=shape, classes=classes)
        (tmp_path / name).mkdir()
        write_winner(made, tmp_path / name)
        model.unlink()
        stored = json.loads((tmp_path / name / "best_config.json").read_text())
        assert stored["dataset"]["class_names"] == list(made.dataset.class_names)
        found = read_config(tmp_path / name / "best_model.keras")
        assert found.dataset == made.dataset.name
        assert found.image_shape == made.dataset.image_shape
        assert found.class_names == made.dataset.class_names
        assert stored["dataset"]["mirror"] == made.dataset.mirror
        assert found.preprocessing == preprocessing
