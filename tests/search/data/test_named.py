"""The data sets of `keras.datasets`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from search.data import named
from search.data.idx import open_idx
from search.data.named import KNOWN, load_with_keras, open_named
from search.errors import DataError
from tests.search.data.pictures import noise


def load(name: str, folder: Path) -> None:
    """Write arrays as Keras would, of the data set's shapes."""
    colours, classes = (3,) * name.startswith("cifar"), len(KNOWN[name].class_names)
    side, labels = 32 if colours else 28, np.tile(np.arange(classes, dtype=np.uint8), 4)
    for part, seed in (("train", 0), ("test", 1)):
        np.save(folder / f"x_{part}.npy", noise(len(labels), side, side, *colours, seed=seed))
        np.save(folder / f"y_{part}.npy", labels[:, None] if colours else labels)


@pytest.mark.parametrize(
    ("name", "shape", "mirror", "first"),
    [
        ("mnist", (28, 28, 1), False, "0"),
        ("cifar10", (32, 32, 3), True, "airplane"),
        ("cifar100", (32, 32, 3), True, "apple"),
    ],
)
def test_shape_names_and_mirroring_are_known(tmp_path, name, shape, mirror, first):
    dataset = open_named(name, tmp_path, quiet=True, load=load)
    assert (dataset.name, dataset.image_shape, dataset.mirror) == (name, shape, mirror)
    assert dataset.class_names[0] == first
    assert len(dataset.training()) == len(dataset.files.test()) == 4 * len(dataset.class_names)
    assert dataset.training().labels[:3].tolist() == [0, 1, 2]


def test_it_is_loaded_once_and_says_so(tmp_path, capsys):
    open_named("mnist", tmp_path, quiet=False, load=load)
    assert capsys.readouterr().err == "loading mnist with Keras; it is downloaded once\n"
    open_named("mnist", tmp_path, quiet=False, load=load)
    assert capsys.readouterr().err == ""


def test_a_cache_with_other_classes_is_refused(tmp_path):
    open_named("mnist", tmp_path, quiet=True, load=load)
    facts = next(tmp_path.glob("*/facts.json"))
    facts.write_text(facts.read_text().replace('"7"', '"seven"'))
    with pytest.raises(DataError, match=r"of mnist have other classes than mnist. Remove .*mnist-"):
        open_named("mnist", tmp_path, quiet=True, load=load)


def test_keras_loads_it_in_another_process(small_data_with_test, tmp_path, monkeypatch):
    shutil.copytree(small_data_with_test, tmp_path / "datasets/fashion-mnist")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    (tmp_path / "keras.json").write_text('{"image_data_format": "channels_first"}')
    load_with_keras("fashion_mnist", tmp_path)  # Keras takes these files for the official ones
    expected = open_idx(small_data_with_test)
    assert np.array_equal(np.load(tmp_path / "x_train.npy"), expected.training().images[..., 0])
    assert np.array_equal(np.load(tmp_path / "y_test.npy"), expected.files.test().labels)


def test_a_download_that_fails_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        DataError, match=r"Keras could not load mnist \(.*\). Check the network, or"
    ):
        load_with_keras("mnist", tmp_path)


def end(*args: object) -> None:
    """End the process in which this runs."""
    os._exit(3)


def test_a_process_that_ends_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(named, "_load", end)
    with pytest.raises(DataError, match=r"load mnist \(its process ended with exit code 3\)"):
        load_with_keras("mnist", tmp_path)


def test_opening_a_data_set_does_not_import_tensorflow(small_data):
    code = (
        "import sys\nfrom search.data.formats import open_dataset\n"
        f"open_dataset({str(small_data)!r})\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
