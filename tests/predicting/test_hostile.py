"""Hostile files: each is refused in one line, runs no program, and takes little memory.

The files are read in a child process, which reports the peak of its memory.
"""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image

from tests import LONGEST_SECONDS
from tests.reporting.band_model import band_images, save_model

ROOT = Path(__file__).resolve().parents[2]
MEGABYTES = 300
FLIPS = int(os.environ.get("FUZZED_FLIPS", "32"))
READ = """
import json, resource, sys
from pathlib import Path
from predicting.images import load_image
from predicting.model import load_model
from search.errors import SearchError
from search.training.hardware import start_tensorflow
from spaces import DataShape
def model(path):
    return load_model(path, DataShape((28, 28, 1), 10))
read = {"image": load_image, "model": model}[sys.argv[1]]
if sys.argv[1] == "model":
    start_tensorflow()
    read(Path(sys.argv[2]))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
for path in sys.argv[3:]:
    try:
        read(Path(path))
        message = None
    except SearchError as error:
        message = str(error)
    print(json.dumps([path, message, peak() - before]))
"""


PREDICT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
import predict
predict.prepare_process = lambda: None
for path in sys.argv[2:]:
    said, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(errors):
        code = predict.main(["--json", "--model", path, sys.argv[1]])
    print(json.dumps([path, code, said.getvalue(), errors.getvalue()]))
"""


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png(width: int, height: int, content: bytes = b"", color: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(content)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def sparse(path: Path, start: bytes) -> None:
    path.write_bytes(start)
    os.truncate(path, 5 * 10**9)


def refusals(kind: str, good: Path, paths: list[Path]) -> dict[str, str]:
    """Read the files in a child process; return the messages by name."""
    command = [sys.executable, "-c", READ, kind, str(good), *map(str, paths)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST_SECONDS, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    messages = {}
    for line in ran.stdout.splitlines():
        path, message, megabytes = json.loads(line)
        assert message is not None, f"{path} is read"
        assert message.isprintable()
        assert megabytes < MEGABYTES, f"{path} takes {megabytes} MB"
        messages[Path(path).name] = message
    return messages


IMAGES: dict[str, tuple[bytes, str]] = {
    "shoe.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n", "not a readable"),
    "long.png": (png(1, 178_000_000), "too large (1 x 178,000,000 pixels; at most 67,108,864 in"),
    "longer.png": (png(1, 400_000_000), "too large ("),
    "thin.png": (png(1, 60_000_000), "too large (1 x 60,000,000 pixels; at most"),
    "square.png": (png(9_000, 9_000), "too large (9,000 x 9,000 pixels; at most"),
    "bomb.png": (png(8_000, 8_000, bytes(8_001 * 8_000)), "shows no object"),
    "color.png": (png(8_000, 8_000, bytes(24_001 * 8_000), 2), "shows no object"),
    "empty.png": (png(8_000, 8_000), "is damaged or truncated"),
    "flood.bmp": (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, 99_999, 9_999, 1, 24, *[0] * 6),
        "too large (Image size",
    ),
    "noise.png": (np.random.default_rng(0).bytes(1000), "not a readable"),
    "nothing.png": (b"", "not a readable"),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "(save HEIC as JPEG)"),
}


def test_hostile_images_are_refused_in_little_memory(tmp_path: Path) -> None:
    for name, (content, _) in IMAGES.items():
        (tmp_path / name).write_bytes(content)
    expected = {name: part for name, (_, part) in IMAGES.items()}
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "one.png").symlink_to("other.png")
    (tmp_path / "other.png").symlink_to("one.png")
    sparse(tmp_path / "sparse.webp", b"RIFF\xff\xff\xff\x7fWEBPVP8 ")
    expected |= {
        "pipe.png": "is a named pipe; name a file.",
        "zero.png": "is a device; name a file.",
        "one.png": "(Too many levels of symbolic links)",
        "sparse.webp": "is too large (5,000 MB; at most 200 MB); shrink it.",
    }
    with socket.socket(socket.AF_UNIX) as listening:
        # The path of a socket may have only some hundred letters.
        listening.bind(os.path.relpath(tmp_path / "s.png"))
        expected["s.png"] = "is a socket; name a file."
        found = refusals("image", tmp_path, [tmp_path / name for name in expected])
    for name, part in expected.items():
        assert part in found[name]


def unpacked(model: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(model) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_zeros(path: Path, files: dict[str, bytes], name: str, megabytes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for other, content in files.items():
            archive.writestr(other, content)
        with archive.open(name, "w", force_zip64=True) as written:
            for _ in range(megabytes):
                written.write(bytes(10**6))
    return path


def repeated(path: Path, files: dict[str, bytes]) -> Path:
    """A model with an asset twice."""
    with zipfile.ZipFile(pack(path, files), "a") as archive:
        for _ in range(2):
            archive.writestr("assets/a", b"")
    return path


def weights(write: Callable[[h5py.File], Any]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write(file)
    return content.getvalue()


def compressed(file: h5py.File) -> None:
    file.create_dataset("a", (10**9,), "f4", chunks=(10**6,), compression="gzip")


def one_chunk(file: h5py.File) -> None:
    file.create_dataset("a", (9,), "f4", maxshape=(None,), chunks=(10**9,), compression="gzip")


def link_out(file: h5py.File) -> None:
    file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")


def link_within(file: h5py.File) -> None:
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers")


def test_hostile_models_are_refused_in_little_memory(tmp_path: Path) -> None:
    good = save_model(tmp_path / "good.keras")
    files = unpacked(good)
    stored, config = "model.weights.h5", files["config.json"]
    without = {name: content for name, content in files.items() if name != stored}
    wide = config.replace(b'"units": 10', b'"units": 1000000000')
    two = json.loads(config)
    (dense,) = (one for one in two["config"]["layers"] if one["class_name"] == "Dense")
    hidden = json.loads(json.dumps(dense))
    hidden["config"]["name"], hidden["config"]["units"] = "hidden", 400_000
    two["config"]["layers"].insert(-1, hidden)
    dense.pop("build_config")
    hidden.pop("build_config")
    expected = {
        pack_zeros(tmp_path / "weights.keras", without, stored, 1100): "its weights would take",
        pack_zeros(
            tmp_path / "padded.keras", without, stored, 900
        ): "would take 900 MB; at most 64 MB",
        pack_zeros(tmp_path / "asset.keras", files, "assets/a", 900): "all but its weights would",
        pack(tmp_path / "gzip.keras", files | {stored: weights(compressed)}): "would take 4,000 MB",
        pack(tmp_path / "chunk.keras", files | {stored: weights(one_chunk)}): "would take 4,000 MB",
        pack(tmp_path / "wide.keras", files | {"config.json": wide}): "shape (None, 1000000000)",
        pack(tmp_path / "layer.keras", files | {"config.json": json.dumps(two).encode()}): (
            "its 317,600,000 weights would"
        ),
        pack(tmp_path / "deep.keras", files | {"config.json": b"[" * 10**6}): "cannot load it",
        pack(tmp_path / "list.keras", files | {"config.json": b"[]"}): "cannot load it",
        repeated(tmp_path / "twice.keras", files): "contains two files of one name",
        pack(tmp_path / "none.keras", without): "without config.json and model.weights.h5",
        pack(tmp_path / "text.keras", files | {stored: b"text"}): "is damaged (OSError: Unable",
        pack(tmp_path / "out.keras", files | {stored: weights(link_out)}): "cannot load it",
        pack(tmp_path / "in.keras", files | {stored: weights(link_within)}): "cannot load it",
        pack(tmp_path / "many.keras", {f"{k:0200}": b"" for k in range(20_000)} | files): (
            "its list of files would take 5 MB; at most 4 MB"
        ),
    }
    os.mkfifo(tmp_path / "pipe.keras")
    (tmp_path / "zero.keras").symlink_to("/dev/zero")
    (tmp_path / "loop.keras").symlink_to("loop.keras")
    sparse(tmp_path / "sparse.keras", b"PK")
    expected |= {
        tmp_path / "pipe.keras": "it is a named pipe.",
        tmp_path / "zero.keras": "it is a device.",
        tmp_path / "loop.keras": "(Too many levels of symbolic links)",
        tmp_path / "sparse.keras": "it is truncated, or no zip archive.",
    }
    found = refusals("model", good, list(expected))
    for path, part in expected.items():
        assert part in found[path.name]


def test_a_damaged_model_is_refused_in_one_line_or_predicts_the_same(tmp_path: Path) -> None:
    good = save_model(tmp_path / "good.keras")
    image = tmp_path / "image.png"
    PIL.Image.fromarray(band_images([4])[0, ..., 0]).save(image)
    content, random = good.read_bytes(), np.random.default_rng(0)
    paths = [good]
    # Directory and headers are a small part of the file, but the one with most ways to fail.
    with zipfile.ZipFile(good) as archive:
        headers = [entry.header_offset + at for entry in archive.infolist() for at in range(30)]
        headers += range(archive.start_dir, len(content))
    anywhere = random.integers(0, len(content), FLIPS // 2)
    for place in (*anywhere, *random.choice(headers, FLIPS // 2)):
        damaged = bytearray(content)
        damaged[place] ^= random.integers(1, 256)
        paths.append(tmp_path / f"flip-{len(paths)}.keras")
        paths[-1].write_bytes(damaged)
    for length in random.integers(0, len(content), FLIPS // 4):
        paths.append(tmp_path / f"cut-{len(paths)}.keras")
        paths[-1].write_bytes(content[:length])
    command = [sys.executable, "-c", PREDICT, str(image), *map(str, paths)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST_SECONDS, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    ended = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(ended) == len(paths)
    _, right, expected, _ = ended[0]
    assert right == 0
    for path, code, said, errors in ended[1:]:
        if code == 0:
            assert json.loads(said) == json.loads(expected), path
            continue
        assert code == 2, (path, errors)
        line = errors.splitlines()[-1]
        assert errors.count("predict: ") == 1, errors
        damage = (" is damaged (", "truncated, or no zip archive", "a zip archive without", "large")
        assert line.startswith("predict: model ") and any(part in line for part in damage), line
        if "cut-" in path:
            assert "truncated, or no zip archive." in line
