"""The command line: image files in, classes out, one line per error."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import predict
from search.data.classes import FASHION_CLASSES
from search.data.dataset import Dataset, LabeledImages
from tests import LONGEST_SECONDS
from tests.conftest import write_idx_data
from tests.reporting.band_model import band_images, save_model

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m.keras")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_band(label: int, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(band_images([label])[0, ..., 0]).save(path)
    return path


def write_test_files(directory: Path, labels: np.ndarray, images: np.ndarray) -> None:
    """A data folder with training and test files."""
    directory.mkdir()
    for part in ("train", "t10k"):
        write_idx_data(directory, images[..., 0], labels, part=part)


def test_a_file_is_classified_and_a_broken_one_reported(tmp_path: Path, model: Path) -> None:
    best = tmp_path / "results" / "cnn" / "report" / "best_model.keras"
    best.parent.mkdir(parents=True)
    best.write_bytes(model.read_bytes())
    write_band(8, tmp_path / "bag.png")
    (tmp_path / "bad.png").write_text("hello")
    command = [sys.executable, str(ROOT / "predict.py"), "bag.png", "bad.png", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    assert ran.returncode == 2
    record, broken = json.loads(ran.stdout)
    assert record["path"] == "bag.png"
    assert record["warning"] is None
    assert broken["path"] == "bad.png"
    assert broken["error"].startswith("bad.png is not a readable image; use PNG")
    assert set(broken) == {"path", "error"}
    assert record["class"] == "Bag"
    assert record["probability"] == record["top3"][0]["probability"] > 0.8
    assert [set(entry) for entry in record["top3"]] == [{"class", "probability"}] * 3
    errors = ran.stderr.splitlines()
    assert errors[0].startswith("predict: bad.png is not a readable image; use PNG")
    assert errors[1:] == ["model: results/cnn/report/best_model.keras"]


def test_json_holds_one_object_per_file_in_order(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_band(1, tmp_path / "wear" / "b.png")
    (tmp_path / "wear" / "a.heic").write_text("hello")
    (tmp_path / "empty").mkdir()
    Image.new("L", (90, 90), 7).save(tmp_path / "wear" / "c.png")
    flags = ["no.png", "wear", "empty", "--json", "--model", str(model)]
    assert predict.main(flags) == 2
    records = json.loads(capsys.readouterr().out)
    expected = ["no.png", "wear/a.heic", "wear/b.png", "wear/c.png", "empty"]
    assert [record["path"] for record in records] == expected
    assert ["error" in record for record in records] == [True, True, False, True, True]
    assert "save HEIC as JPEG" in records[1]["error"]


def test_a_warning_is_a_line_and_a_field(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.new("L", (200, 230), 235)
    image.paste(40, (30, 40, 150, 200))
    image.save(tmp_path / "box.png")
    assert predict.main(["box.png", "--json", "--model", str(model)]) == 0
    said = capsys.readouterr()
    (record,) = json.loads(said.out)
    assert record["warning"].startswith("box.png: the object fills its box")
    assert said.err.splitlines()[0] == f"predict: warning: {record['warning']}"


def test_images_of_a_folder_are_known_by_content_and_nothing_is_left_out_silently(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wear = tmp_path / "wear"
    write_band(0, wear / "a.tiff")
    write_band(1, wear / "sub" / "deep" / "c.png").rename(wear / "sub" / "deep" / "c")
    write_band(2, wear / ".hidden.png")
    write_band(3, wear / ".hidden" / "a.png")
    (wear / "notes.txt").write_text("no image")
    (wear / "circle").symlink_to(".")
    (wear / "linked.png").symlink_to("a.tiff")
    os.mkfifo(wear / "pipe")
    assert predict.main(["wear", "--model", str(model)]) == 0
    said = capsys.readouterr()
    names = [line.split()[0] for line in said.out.splitlines()[1:]]
    assert names == ["wear/a.tiff", "wear/linked.png", "wear/sub/deep/c"]
    (left_out, _) = said.err.splitlines()
    assert left_out.endswith("in folder wear, not images: circle/, notes.txt, pipe (3 in total).")


def test_odd_names_are_shown_escaped(
    tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = write_band(0, tmp_path / "a.png").read_bytes()
    odd = [b"line\nbreak.png", b"escape\x1b[31m.png", b"byte\xff.png", b"turned\xe2\x80\xaegnp.png"]
    for name in odd:
        with open(name, "wb") as file:
            file.write(content)
        with open(b"bad-" + name, "wb") as file:
            file.write(b"hello")
    paths = [os.fsdecode(name) for name in odd]
    bad = [f"bad-{path}" for path in paths]
    assert predict.main([*paths, *bad, "--model", str(model)]) == 2
    said = capfd.readouterr()
    shown = ["line\\nbreak.png", "escape\\x1b[31m.png", "byte\\udcff.png", "turned\\u202egnp.png"]
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == shown
    refused = [line.split()[1] for line in said.err.splitlines() if "bad-" in line]
    assert refused == [f"bad-{name}" for name in shown]
    assert predict.main([*paths, "--json", "--model", str(model)]) == 0
    # JSON has its own escapes: the path opens the file.
    assert [record["path"] for record in json.loads(capfd.readouterr().out)] == paths


def test_a_name_that_is_too_long_does_not_stop_the_others(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_band(0, tmp_path / "a.png")
    assert predict.main(["x" * 300, "a.png", "--model", str(model)]) == 2
    said = capsys.readouterr()
    assert "(File name too long)" in said.err
    assert said.out.splitlines()[1].startswith("a.png  T-shirt/top")


@pytest.mark.parametrize(("flags", "code"), [(["--help"], 0), (["no.png"], 2)])
def test_help_and_errors_do_not_import_tensorflow(flags: list[str], code: int) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "predict.py"), *flags]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    assert ran.returncode == code
    assert not {"tensorflow", "keras", "matplotlib"} & set(ran.stderr.split())


def test_the_help_explains_the_conversion_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        predict.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "frames, bars and pages around a picture are stripped" in text
    assert "rotated only if an EXIF tag says so" in text
    assert all(action.help for action in predict.make_parser()._actions)


def test_a_folder_is_read_in_order_and_printed_as_lines(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_band(1, tmp_path / "wear" / "b.png")
    write_band(0, tmp_path / "wear" / "a long name.PNG")
    write_band(3, tmp_path / "wear" / "c.webp").rename(tmp_path / "wear" / "c.WEBP")
    (tmp_path / "wear" / "notes.txt").write_text("no image")
    assert predict.main(["wear", "--model", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "class", "probability", "next"]
    assert lines[1].startswith("wear/a long name.PNG  T-shirt/top  85.8 %")
    assert lines[2].startswith("wear/b.png            Trouser      85.8 %")
    assert lines[2].endswith("T-shirt/top 1.6 %, Pullover 1.6 %")
    assert lines[3].startswith("wear/c.WEBP")
    assert len(lines) == 4


def test_the_demo_draws_a_grid(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = (np.arange(25) % 10).astype(np.uint8)
    images = band_images(labels)
    images[3] = band_images([5])[0]
    write_test_files(tmp_path / "data", labels, images)
    (tmp_path / "data" / "classes.txt").write_text("\n".join(FASHION_CLASSES))
    flags = ["--demo", "--data", "data", "--model", str(model)]
    assert predict.main(flags) == 0
    said = capsys.readouterr()
    assert f"24 of 25 test images right; grid: {tmp_path / 'predictions.png'}" in said.err
    assert said.out.count("(wrong)") == 1
    with Image.open(tmp_path / "predictions.png") as grid:
        assert grid.format == "PNG"
        assert min(grid.size) >= 1000
        # Images, most of them black, cover most of it.
        assert (np.asarray(grid.convert("L")) < 20).mean() > 0.4

    assert predict.main([*flags, "--json", "--output", str(tmp_path / "g.png")]) == 0
    records = json.loads(capsys.readouterr().out)
    assert len(records) == 25
    assert records[3]["path"] == "test[3]"
    assert (records[3]["class"], records[3]["true_class"]) == (
        FASHION_CLASSES[5],
        FASHION_CLASSES[3],
    )
    assert (tmp_path / "g.png").stat().st_size > 10_000


MISTAKES = {
    "nothing": ([], "name image files or folders, or use --demo."),
    "model": (["a.png", "--results-dir", "r"], "no model found as r/*/report/best_model.keras."),
    "file": (["MODEL", "no.png"], "image no.png does not exist; check the path."),
    "text": (["MODEL", "text.png"], "text.png is not a readable image; use PNG, JPEG,"),
    "half": (["MODEL", "half.png"], "half.png is damaged or truncated ("),
    "empty": (["MODEL", "empty"], "folder empty has no image file; name another one."),
    "plain": (["MODEL", "plain.png"], "plain.png shows no object: it has a single colour"),
    "h5": (["a.png", "--model", "text.png"], "model text.png is not a .keras file: it is"),
    "no model": (["a.png", "--model", "no.keras"], "model no.keras does not exist. Run report.py"),
    "shape": (
        ["a.png", "--model", "seven.keras"],
        "model seven.keras: its output has the shape (None, 7)",
    ),
    "both": (["MODEL", "--demo", "a.png"], "name image files or folders, or use --demo, but"),
    "output": (
        ["MODEL", "a.png", "--output", "x.png"],
        "--output x.png needs --demo; add it, or leave --output out.",
    ),
    "data": (["MODEL", "a.png", "--data", "d"], "--data d needs --demo; add it, or"),
    "jpg": (
        ["MODEL", "--demo", "--output", "x.jpg"],
        "--output is x.jpg; the grid is a PNG file",
    ),
    "folder": (["MODEL", "--demo", "--output", "x/y.png"], "--output is x/y.png, but its folder"),
    "no data": (["MODEL", "--demo", "--data", "empty"], "empty has no folders with images"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_is_one_line(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    content = write_band(0, tmp_path / "a.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) * 2 // 3])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    Image.new("L", (90, 90), 7).save(tmp_path / "plain.png")
    flags, expected = MISTAKES[mistake]
    if mistake == "shape":
        save_model(tmp_path / "seven.keras", classes=7)
    if "MODEL" in flags:
        flags = ["--model", str(model), *flags[1:]]
    assert predict.main(flags) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if not line.startswith("model:")]
    assert said.out == ""
    assert len(lines) == 1
    assert lines[0].startswith(f"predict: {expected}")


def test_an_unknown_flag_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        predict.main(["--modle", "x"])
    assert ended.value.code == 2
    assert (
        capsys.readouterr().err
        == "predict: --modle is unknown; see --help. Did you mean '--model'?\n"
    )


SOIL = ("moss", "sand $a$", "line\nbreak \x1b[31m")


@pytest.fixture
def soil(tmp_path: Path) -> Path:
    """A model of colour images: the class is the brightest of red, green and blue."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((20, 30, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, use_bias=False),
        ]
    )
    model.layers[-1].set_weights([8 * np.eye(3, dtype=np.float32)])
    model.save(tmp_path / "soil.keras")
    facts = {"name": "soil", "image_shape": [20, 30, 3], "class_names": SOIL, "mirror": None}
    config = {"dataset": facts, "preprocessing": "resize"}
    (tmp_path / "best_config.json").write_text(json.dumps(config))
    return tmp_path / "soil.keras"


def test_photographs_are_classified_by_a_model_in_colour(
    tmp_path: Path, soil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, colour in (("a.png", "red"), ("b.jpg", "lime"), ("c.gif", "blue")):
        Image.new("RGB", (90, 200), colour).save(tmp_path / name)
    files = ["a.png", "b.jpg", "c.gif"]
    assert predict.main([*files, "--model", str(soil)]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == 4
    assert [line.split("  ")[0] for line in lines[1:]] == files
    assert lines[1].split("  ")[1] == "moss"
    assert "line\\nbreak \\x1b[31m  99.9 %" in lines[3]  # escaped: they would change the terminal
    assert "warning" not in said.err

    assert predict.main([*files, "--json", "--model", str(soil)]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["class"] for record in records] == list(SOIL)
    assert [len(record["top3"]) for record in records] == [3, 3, 3]
    assert [record["warning"] for record in records] == [None, None, None]


def test_the_grid_is_drawn_in_colour(
    tmp_path: Path,
    soil: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = np.arange(30, dtype=np.uint8) % 3
    images = np.zeros((30, 20, 30, 3), np.uint8)
    images[np.arange(30), :, :, labels] = 255

    class SoilFiles:
        def test(self) -> LabeledImages:
            return LabeledImages(images=images, labels=labels)

    opened = []

    def open_dataset(data: str | None, **given: Any) -> Dataset:
        opened.append((data, given["image_size"]))
        return Dataset(
            name="soil",
            image_shape=(20, 30, 3),
            class_names=SOIL,
            mirror=None,
            fingerprint="1",
            files=SoilFiles(),  # type: ignore[arg-type]
        )

    monkeypatch.setattr("search.data.formats.open_dataset", open_dataset)
    flags = ["--demo", "--model", str(soil)]
    assert predict.main([*flags, "--data", "photos"]) == 0
    assert "25 of 25 test images right" in capsys.readouterr().err
    with Image.open(tmp_path / "predictions.png") as grid:
        pixels = np.asarray(grid.convert("RGB")).reshape(-1, 3)
    for colour in np.eye(3, dtype=np.uint8) * 255:
        assert (pixels == colour).all(axis=1).mean() > 0.05
    # Without --data it is that of the model, but never a path: best_config.json is not trusted.
    assert predict.main(flags) == 2
    said = capsys.readouterr().err
    assert said == (
        "predict: --demo needs --data: the model was trained on data set 'soil'; give its path.\n"
    )
    assert opened == [("photos", None)]


def test_the_demo_shows_images_of_all_classes_though_they_are_sorted(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 40)
    write_test_files(tmp_path / "data", labels, band_images(labels))
    (tmp_path / "data" / "classes.txt").write_text("\n".join(FASHION_CLASSES))
    flags = ["--demo", "--data", "data", "--model", str(model), "--json"]
    shown = []
    for fashion_mnist in (False, False, True):
        monkeypatch.setattr(Dataset, "is_fashion_mnist", fashion_mnist)
        assert predict.main(flags) == 0
        shown.append(json.loads(capsys.readouterr().out))
    spread, again, first = shown
    assert spread == again
    assert len(spread) == len({record["path"] for record in spread}) == predict.DEMO_IMAGES
    assert len({record["true_class"] for record in spread}) > 5
    assert all(record["class"] == record["true_class"] for record in spread)
    indices = [int(record["path"][len("test[") : -1]) for record in spread]
    assert [record["true_class"] for record in spread] == [
        FASHION_CLASSES[labels[index]] for index in indices
    ]
    # The test files of Fashion-MNIST are mixed.
    assert [record["path"] for record in first] == [f"test[{index}]" for index in range(25)]


def test_test_images_of_another_data_set_are_refused(
    tmp_path: Path, soil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.tile(np.arange(10, dtype=np.uint8), 2)
    write_test_files(tmp_path / "data", labels, band_images(labels))
    assert predict.main(["--demo", "--data", "data", "--model", str(soil)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "predict: --data is data, with images of 28x28x1 and the 10 classes 0, 1, 2, ...; the "
        "model takes images of 20x30x3 and the 3 classes moss, sand $a$, line"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image_shape": [20, 20, 3]}, "its input is (None, 20, 30, 3)"),
        ({"class_names": ["moss", "sand"]}, "its output has the shape (None, 3); it must be one"),
        ({"image_shape": [10**9, 30, 3]}, "image_shape is [1000000000, 30, 3]; it must be"),
    ],
)
def test_a_configuration_that_does_not_fit_its_model_is_one_line(
    tmp_path: Path,
    soil: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, object],
    said: str,
) -> None:
    Image.new("RGB", (90, 200), "red").save(tmp_path / "a.png")
    config = json.loads((tmp_path / "best_config.json").read_text())
    config["dataset"] |= changed
    (tmp_path / "best_config.json").write_text(json.dumps(config))
    assert predict.main(["a.png", "--model", str(soil)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "model: " not in line]
    assert len(lines) == 1
    assert said in lines[0]
