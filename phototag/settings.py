"""Name the folders and files of phototag, and read its configuration file.

A setting is looked up as: flag, then PHOTOTAG_* environment variable, then configuration file, then default. Click does
the first two (every option names its variable); the file becomes click's `default_map`.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from phototag.errors import UsageError
from phototag.files import read_regular

# Set to keep everything (database, models, cache, configuration) under one folder instead of the platform's own.
HOME_VARIABLE = "PHOTOTAG_HOME"
CONFIG_VARIABLE = "PHOTOTAG_CONFIG"
_MOST_CONFIG_BYTES = 1 << 20


def _folder(kind: str) -> Path:
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser().absolute() / kind
    import platformdirs  # here, since a set PHOTOTAG_HOME needs none of it

    folder: Path = getattr(platformdirs, f"user_{kind}_path")("phototag", appauthor=False)
    return folder


def data_folder() -> Path:
    """Return the folder of the database and the models."""
    return _folder("data")


def models_folder() -> Path:
    """Return the folder of trained models, one .safetensors each."""
    return data_folder() / "models"


def cache_folder() -> Path:
    """Return the folder of what can be computed again: features, converted models."""
    return _folder("cache")


def default_database() -> Path:
    """Return the database used when neither --db nor PHOTOTAG_DB names one."""
    return data_folder() / "phototag.db"


def config_file() -> Path:
    """Return the path of the configuration file, whether it exists or not."""
    chosen = os.environ.get(CONFIG_VARIABLE)
    return Path(chosen).expanduser() if chosen else _folder("config") / "config.toml"


def load_config() -> dict[str, Any]:
    """Read the configuration file: top-level keys hold for every command, a [table] for the command of that name.

    Raises:
        UsageError: the file cannot be read, is not TOML, or PHOTOTAG_CONFIG names a file that is not there.
    """
    path = config_file()
    if str(path) == os.devnull:
        return {}  # the usual way to say: none
    try:
        return tomllib.loads(read_regular(path, most_bytes=_MOST_CONFIG_BYTES).decode())
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            raise UsageError(f"{path}: no such file; {CONFIG_VARIABLE} names it") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
