"""The machine and the software that train: number format, GPUs, threads, versions.

Importing it imports only the standard library: a node of a cluster uses it before its packages are
known to be the right ones.
"""

import functools
import itertools
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

Precision = Literal["bfloat16", "float32"]

_PACKAGES: Final = ("tensorflow", "keras", "optuna", "keras-tuner", "numpy")
_CPU_INFO: Final = Path("/proc/cpuinfo")
# CPU features that decide how fast a training is.
_CPU_FEATURES: Final = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_ONEDNN: Final = "TF_ENABLE_ONEDNN_OPTS"
_X86: Final = ("x86_64", "AMD64")
# Compute capability of the first NVIDIA GPUs with units for bfloat16 (Ampere). Source: NVIDIA,
# CUDA C++ Programming Guide, "Compute Capabilities".
_BFLOAT16_CAPABILITY: Final = 8.0
# Variables that shorten trainings, or replace Keras by its version 2.
_UNSET: Final = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "TF_USE_LEGACY_KERAS")


def best_precision(cpu_info: Path = _CPU_INFO) -> Precision:
    """Return the fastest number format: bfloat16 where the GPUs, or else the CPU, have units.

    Elsewhere bfloat16 is emulated and slower than float32.

    Args:
        cpu_info: File in which Linux lists the CPU's features; without it the answer is float32.
    """
    if visible_gpus():
        return "bfloat16" if _have_bfloat16(visible_gpus()) else "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(_cpu_features(cpu_info)) else "float32"


def _cpu_features(cpu_info: Path = _CPU_INFO) -> list[str]:
    try:
        flags = set(cpu_info.read_text().split())
    except OSError:
        return []
    return [feature for feature in _CPU_FEATURES if feature in flags]


def set_precision(precision: Precision) -> None:
    """Set the number format of models that are built from now on; weights stay float32."""
    import keras

    keras.mixed_precision.set_global_policy(
        "mixed_bfloat16" if precision == "bfloat16" else "float32"
    )


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that this process may use, each as CUDA_VISIBLE_DEVICES names it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    indices = [str(index) for index in range(len(_present_gpus()))]
    if visible is None or not indices:
        return indices
    # CUDA ignores the list from its first invalid entry on: "-1" and "" hide all GPUs. A GPU may
    # be divided into several instances, MIG-..., each of which is a device.
    names = [name.strip() for name in visible.split(",")]
    valid = itertools.takewhile(
        lambda name: name in indices or name.startswith(("GPU-", "MIG-")), names
    )
    return list(dict.fromkeys(valid))


def _present_gpus() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs of this machine, hidden ones too."""
    # "GPU 0: NVIDIA H200 (UUID: ...)"; parts of a GPU follow, indented.
    lines = [line for line in _nvidia_smi("--list-gpus") if line.startswith("GPU ")]
    return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in lines)


def _have_bfloat16(gpus: Sequence[str]) -> bool:
    """Return whether GPUs, by index or UUID, have units for bfloat16, as far as they tell."""
    known: dict[str, float] = {}
    for line in _nvidia_smi("--query-gpu=index,uuid,compute_cap", "--format=csv,noheader"):
        index, uuid, capability = [*line.split(", "), "", ""][:3]
        with suppress(ValueError):  # a driver that does not know
            known |= dict.fromkeys((index, uuid), float(capability))
    # Parts of a GPU (MIG) are not listed, and have such units.
    return all(known.get(gpu, _BFLOAT16_CAPABILITY) >= _BFLOAT16_CAPABILITY for gpu in gpus)


def _nvidia_smi(*arguments: str) -> Sequence[str]:
    """Return the lines that nvidia-smi prints; none where it is missing or fails."""
    program = shutil.which("nvidia-smi")
    return () if program is None else _said_by(program, *arguments)


@functools.cache  # it may take a second
def _said_by(program: str, *arguments: str) -> Sequence[str]:
    try:
        said = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(said.stdout.splitlines())


def training_variables(*, threads: int | None = None) -> dict[str, str]:
    """Return the environment variables that must be set before TensorFlow is imported.

    Args:
        threads: Number of threads to train with; None: TensorFlow's choice.
    """
    variables = {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "MPLBACKEND": "agg",
        **_onednn(),
    }
    if threads is None:
        return variables
    # OMP_NUM_THREADS alone does not limit TensorFlow.
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return variables | dict.fromkeys((*names, "OPENBLAS_NUM_THREADS"), str(threads))


def _onednn() -> dict[str, str]:
    """Return the variable that turns TensorFlow's oneDNN kernels on, unless the user has set it.

    On x86, TensorFlow uses them by itself only where the CPU has AVX512-VNNI or newer units. On
    CPUs with AVX2 alone stock Keras trains our networks 1.1 to 2.3 times as fast with them.
    """
    if platform.machine() not in _X86:
        return {}
    return {_ONEDNN: os.environ.get(_ONEDNN, "1")}


def start_tensorflow(*, devices: bool = True) -> None:
    """Import TensorFlow and Keras, with Keras' settings as they are without configuration.

    Call it before anything else imports Keras: the variable KERAS_BACKEND, the file keras.json and
    the like would change results, or fail. TensorFlow's first lines of output are discarded: it
    prints some of them whatever TF_CPP_MIN_LOG_LEVEL is. Later output is shown as usual.

    Args:
        devices: Whether to initialise the GPUs too.

    Raises:
        ImportError: TensorFlow or Keras is not installed.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.update(_onednn())
    for name in _UNSET:
        os.environ.pop(name, None)
    sys.stderr.flush()
    # TensorFlow's C++ code writes to the file descriptor, not to sys.stderr.
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import keras
        import tensorflow as tf

        if devices:
            tf.constant(0)  # the first operation initialises them
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    _keep_number_format()


def _keep_number_format() -> None:
    """Make `clear_session` keep the number format: many a `build` calls it first."""
    import keras

    stock = keras.utils.clear_session
    if hasattr(stock, "__wrapped__"):
        return

    @functools.wraps(stock)
    def clear_session(free_memory: bool = True) -> None:
        policy = keras.config.dtype_policy()
        stock(free_memory=free_memory)
        keras.config.set_dtype_policy(policy)

    # Keras has no setting that survives it, and exports it under several names.
    for name, module in list(sys.modules.items()):
        if name.startswith("keras.") and vars(module).get("clear_session") is stock:
            vars(module)["clear_session"] = clear_session


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine(cpu_info: Path = _CPU_INFO) -> str:
    """Describe the machine in words: processor, cores, GPUs that are visible, system, kernels.

    Args:
        cpu_info: File in which Linux lists the CPU's name and features.
    """
    model = platform.processor() or platform.machine()
    try:
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    parts = [model, f"{os.cpu_count()} cores"]
    if gpus := len(visible_gpus()):
        kinds = ", ".join(sorted(set(_present_gpus())))
        parts.append(f"{gpus} {'GPU' if gpus == 1 else 'GPUs'} ({kinds})")
    parts.append(f"{platform.system()} {platform.machine()}")
    if features := _cpu_features(cpu_info):
        parts.append(" ".join(features))
    if onednn := _onednn():
        # TensorFlow reads any number but 0 and any word of truth as "on".
        is_off = onednn[_ONEDNN].lower() in ("0", "false")
        parts.append(f"oneDNN {'off' if is_off else 'on'}")
    return ", ".join(parts)
