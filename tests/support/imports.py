"""What a fresh Python imports to run some code or a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

NETWORKS = {"torch", "torchvision", "timm", "openvino", "onnxruntime", "ray"}
HEAVY = NETWORKS | {"numpy", "PIL", "alembic", "safetensors", "tqdm", "scipy", "filelock"}


def imported(code: str) -> set[str]:
    """The top-level modules that a fresh Python has imported after running `code`."""
    report = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.__stderr__)"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


def imported_by_command(*args: str | os.PathLike[str]) -> set[str]:
    """The top-level modules that a command which succeeds has imported in the end."""
    return imported_by_commands([os.fspath(arg) for arg in args])


def imported_by_commands(*commands: Sequence[str]) -> set[str]:
    """The top-level modules that these commands, which succeed one after another, have imported in the end."""
    return imported(
        f"import sys\nfor words in {[list(words) for words in commands]!r}:\n    sys.argv = ['phototag', *words]\n"
        "    from phototag.cli.main import main\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, (words, end.code)"
    )
