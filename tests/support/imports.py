"""What a fresh Python imports to run some code or a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

NETWORKS = {"torch", "torchvision", "timm", "openvino", "onnxruntime"}
HEAVY = NETWORKS | {"numpy", "PIL", "alembic", "safetensors", "tqdm", "scipy", "filelock"}


def imported(code: str) -> set[str]:
    """The top-level modules that a fresh Python has imported after running `code`."""
    report = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.__stderr__)"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


def imported_by_command(*args: str | os.PathLike[str]) -> set[str]:
    """The top-level modules that a command which succeeds has imported in the end."""
    words = ["phototag", *map(os.fspath, args)]
    return imported(
        f"import sys\nsys.argv = {words!r}\n"
        "from phototag.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
