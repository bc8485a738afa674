"""Hardware: number format, GPUs, versions and the machine are found without TensorFlow."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from search.training.hardware import (
    best_precision,
    machine,
    training_variables,
    versions,
    visible_gpus,
)


@pytest.fixture
def nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A machine whose nvidia-smi is the given shell script."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")

    return install


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16 vnni", "bfloat16"),
        ("fpu amx_bf16 amx_tile", "bfloat16"),
        ("fpu avx2 avx512f", "float32"),
    ],
)
def test_the_cpu_flags_decide_without_a_gpu(no_gpu, tmp_path, flags, expected):
    info = tmp_path / "cpuinfo"
    info.write_text(f"model name\t: any\nflags\t\t: {flags}\n")
    assert best_precision(info) == expected


def test_an_unreadable_cpu_list_means_float32(no_gpu, tmp_path):
    assert best_precision(tmp_path / "absent") == "float32"


def test_no_nvidia_smi_means_no_gpu(no_gpu):
    assert visible_gpus() == []


def test_a_failing_nvidia_smi_means_no_gpu(nvidia):
    nvidia("exit 9")
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, ["0", "1"]),
        ("0", ["0"]),
        ("1, 0", ["1", "0"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,7,1", ["0"]),
        ("1,", ["1"]),
        ("1,1", ["1"]),
        ("GPU-2f1,MIG-77,MIG-78", ["GPU-2f1", "MIG-77", "MIG-78"]),
    ],
)
def test_cuda_visible_devices_limits_the_gpus(nvidia, monkeypatch, visible, gpus):
    nvidia("echo 'GPU 0: H200 (UUID: GPU-2f1)'; echo 'GPU 1: H200 (UUID: GPU-3a2)'")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == gpus


def test_a_gpu_means_bfloat16_whatever_the_cpu(nvidia, tmp_path):
    nvidia("echo 'GPU 0: H200 (UUID: GPU-2f1)'")
    assert best_precision(tmp_path / "absent") == "bfloat16"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (["8.0", "9.0"], "bfloat16"),
        (["7.5"], "float32"),
        (["9.0", "7.0"], "float32"),
        (["[N/A]"], "bfloat16"),
    ],
)
def test_older_gpus_have_no_bfloat16(nvidia, tmp_path, monkeypatch, capabilities, expected):
    gpus = [f"GPU {n}: any (UUID: GPU-{n})" for n in range(len(capabilities))]
    told = [f"{n}, GPU-{n}, {one}" for n, one in enumerate(capabilities)]
    lines, answers = (" ".join(f"'{line}'" for line in part) for part in (gpus, told))
    nvidia(f'case "$1" in --list-gpus) printf "%s\\n" {lines};; *) printf "%s\\n" {answers};; esac')
    assert best_precision(tmp_path / "absent") == expected
    for name in ("0", "GPU-0"):  # the first alone
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
        alone = "float32" if capabilities[0] == "7.5" else "bfloat16"
        assert best_precision(tmp_path / "absent") == alone


def test_versions_and_machine_are_known():
    assert versions()["keras"].startswith("3.")
    assert "cores" in machine()


def test_the_machine_names_the_gpus_that_are_visible(nvidia, monkeypatch):
    nvidia("echo 'GPU 0: NVIDIA H200 (UUID: GPU-2f1)'; echo 'GPU 1: NVIDIA H200 (UUID: GPU-3a2)'")
    assert " cores, 2 GPUs (NVIDIA H200), " in machine()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert " cores, 1 GPU (NVIDIA H200), " in machine()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "GPU" not in machine()


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ("fpu avx avx2 sse", ", avx2, oneDNN"),
        ("amx_bf16 avx512_bf16 avx512f avx2", ", avx2 avx512f avx512_bf16 amx_bf16, oneDNN"),
    ],
)
def test_the_machine_names_the_cpu_features_that_matter(tmp_path, monkeypatch, flags, shown):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    info = tmp_path / "cpuinfo"
    info.write_text(f"model name\t: Some CPU\nflags\t\t: {flags}\n")
    assert machine(info).startswith("Some CPU, ")
    assert f" x86_64{shown} " in machine(info)


@pytest.mark.parametrize(
    ("given", "set_to", "shown"),
    [(None, "1", "on"), ("1", "1", "on"), ("0", "0", "off"), ("false", "false", "off")],
)
def test_onednn_is_on_unless_the_user_turns_it_off(monkeypatch, given, set_to, shown):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if given is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given)
    assert training_variables(threads=1)["TF_ENABLE_ONEDNN_OPTS"] == set_to
    assert machine().endswith(f"oneDNN {shown}")


def test_other_processors_have_no_onednn_switch(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert "TF_ENABLE_ONEDNN_OPTS" not in training_variables()
    assert "oneDNN" not in machine()


def test_the_module_imports_only_the_standard_library():
    code = (
        "import sys, search.training.hardware as hardware; hardware.versions();"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'keras', 'optuna', 'tensorflow')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)


def started(tmp_path: Path, code: str, **environment: str) -> None:
    """Run code in a process that has started TensorFlow in an odd environment."""
    (tmp_path / "keras.json").write_text(
        '{"backend": "torch", "image_data_format": "channels_first", "floatx": "float16", '
        '"epsilon": 0.1}'
    )
    code = f"from search.training.hardware import *; start_tensorflow(devices=False)\n{code}"
    inherited = {name: os.environ[name] for name in os.environ if name != "TF_ENABLE_ONEDNN_OPTS"}
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env=inherited | {"KERAS_HOME": str(tmp_path), **environment},
        check=True,
    )


def test_ambient_settings_do_not_count_and_a_cleared_session_keeps_the_number_format(tmp_path):
    code = """
import keras, numpy, platform, tensorflow
from keras.utils import clear_session
assert keras.backend.backend() == "tensorflow"
assert keras.config.image_data_format() == "channels_last"
assert keras.config.floatx() == keras.config.dtype_policy().name == "float32"
assert keras.config.epsilon() == 1e-7
assert tensorflow.keras.Model is keras.Model
model = keras.Sequential([keras.layers.Dense(1)])
model.compile(loss="mse")
assert len(model.fit(numpy.ones((8, 1)), numpy.ones(8), epochs=3, verbose=0).epoch) == 3
if platform.machine() == "x86_64":
    from tensorflow.python.util import _pywrap_util_port
    assert _pywrap_util_port.IsMklEnabled()
start_tensorflow(devices=False)  # once more
set_precision("bfloat16")
keras.layers.Dense(1)
for clear in (
    clear_session,
    keras.utils.clear_session,
    keras.backend.clear_session,
    tensorflow.keras.backend.clear_session,
    tensorflow.keras.utils.clear_session,
):
    clear()
    layer = keras.layers.Dense(1)
    assert (layer.name, layer.compute_dtype) == ("dense", "bfloat16"), clear
"""
    ambient = {"KERAS_BACKEND": "jax", "KERAS_MAX_EPOCHS": "1", "TF_USE_LEGACY_KERAS": "1"}
    started(tmp_path, code, **ambient)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 has the switch")
def test_tensorflow_starts_without_onednn_where_the_user_turned_it_off(tmp_path):
    code = """
from tensorflow.python.util import _pywrap_util_port
assert not _pywrap_util_port.IsMklEnabled()
"""
    started(tmp_path, code, TF_ENABLE_ONEDNN_OPTS="0")
