"""Where CTranslate2 can run: on the GPU only if a small translation works there.

The wheels of CTranslate2 are built for CUDA 12 and load `libcublas.so.12` at the first matrix product. torch may bring
that of another CUDA, so that a GPU which torch uses is of no use to CTranslate2.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

CUBLAS = ("libcublasLt.so.12", "libcublas.so.12")  # in the order in which they are loaded
EXTRA = "pip install 'ml2021[cuda12]'"
MOST_SECONDS = 120  # of the probe
logger = logging.getLogger(__name__)

# Runs in a process of its own, because CUDA can end a process: translates with a model of one layer. The first argument
# is the device, the others are libraries to load.
PROBE = """
import ctypes, sys, tempfile
sys.modules["torch"] = sys.modules["transformers"] = None  # slow to import, and not needed
for path in sys.argv[2:]:
    ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
import ctranslate2, numpy
from ctranslate2.specs import TransformerSpec
spec = TransformerSpec.from_config(1, 1)
def fill(layer, name, value):
    if value is None:
        shape = (8,) if name.split("/")[-1] in ("gamma", "beta", "bias") else (8, 8)
        setattr(layer, name.split("/")[-1], numpy.full(shape, 0.1, numpy.float32))
spec._visit(fill)
spec.encoder.position_encodings.encodings = numpy.zeros((32, 8), numpy.float32)
spec.decoder.position_encodings.encodings = numpy.zeros((32, 8), numpy.float32)
for attention in (spec.encoder.layer[0].self_attention, spec.decoder.layer[0].self_attention):
    attention.linear[0].weight = numpy.full((24, 8), 0.1, numpy.float32)
    attention.linear[0].bias = numpy.zeros(24, numpy.float32)
attention = spec.decoder.layer[0].attention
attention.linear[1].weight = numpy.full((16, 8), 0.1, numpy.float32)
attention.linear[1].bias = numpy.zeros(16, numpy.float32)
pieces = ["<unk>", "<s>", "</s>", "a", "b", "c", "d", "e"]
spec.register_source_vocabulary(pieces)
spec.register_target_vocabulary(pieces)
spec.validate()
with tempfile.TemporaryDirectory() as folder:
    spec.save(folder)
    ctranslate2.Translator(folder, device=sys.argv[1]).translate_batch([["a", "b"]], max_decoding_length=3)
print("it works")
"""


@functools.cache
def ctranslate2_device() -> str:
    """`cuda` if CTranslate2 can compute there, else `cpu`; why a GPU is not used is logged once per process.

    CUDA 12's cuBLAS is also taken from the package nvidia-cublas-cu12, wherever the system's loader would look.
    """
    if not _num_gpus():
        return "cpu"
    libraries = cublas_of_package()
    problem = probe("cuda", libraries)
    if problem:
        logger.warning("CTranslate2 runs on the CPU, although there is a GPU: %s (%s)", problem, EXTRA)
        return "cpu"
    for library in libraries:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)  # CTranslate2 finds what is already loaded
    return "cuda"


def probe(device: str, libraries: list[Path]) -> str:
    """Translate with a tiny model on a device, in another process; returns what went wrong, empty if nothing did."""
    command = [sys.executable, "-c", PROBE, device, *map(str, libraries)]
    environment = os.environ | {"CT2_VERBOSE": "-3"}  # no messages of CTranslate2's own
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=MOST_SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return f"a small translation there takes more than {MOST_SECONDS} s"
    except OSError as e:
        return str(e)
    if result.returncode == 0 and result.stdout.strip().endswith("it works"):
        return ""
    lines = result.stderr.strip().splitlines() or [f"a small translation there ended with status {result.returncode}"]
    return lines[-1].removeprefix("RuntimeError: ")


def cublas_of_package() -> list[Path]:
    """CUDA 12's cuBLAS in this Python's packages; empty if it is not there."""
    folder = Path(sysconfig.get_path("purelib")) / "nvidia" / "cublas" / "lib"
    libraries = [folder / name for name in CUBLAS]
    return libraries if all(path.is_file() for path in libraries) else []


def _num_gpus() -> int:
    import ctranslate2

    try:
        return int(ctranslate2.get_cuda_device_count())
    except RuntimeError:  # of a driver that is too old for it
        return 0
