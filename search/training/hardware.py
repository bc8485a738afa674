"""Choose the number format, the GPUs and the threads of a worker, without TensorFlow."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Literal

Precision = Literal["bfloat16", "float32"]


def best_precision(cpu_info: Path = Path("/proc/cpuinfo")) -> Precision:
    """Choose the fastest format: bfloat16 where a GPU or the CPU has units for it.

    Elsewhere bfloat16 is emulated and slower than float32.

    Args:
        cpu_info: Where Linux lists the CPU's abilities; float32 where it cannot be read.
    """
    if gpu_count():
        return "bfloat16"
    try:
        flags = set(cpu_info.read_text().split())
    except OSError:
        return "float32"
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32"


def gpu_count() -> int:
    """Count the NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves to this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    present = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    if visible is None:
        return present
    # CUDA reads the list up to the first entry that names no device: "-1" and "" hide all.
    names = [name.strip() for name in visible.split(",")]
    valid = 0
    for name in names:
        if not name or (name.lstrip("-").isdigit() and not 0 <= int(name) < present):
            break
        valid += 1
    return min(valid, present)


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
    }
    if threads is None:
        return variables
    # OMP_NUM_THREADS alone does not limit TensorFlow.
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return variables | dict.fromkeys((*names, "OPENBLAS_NUM_THREADS"), str(threads))
