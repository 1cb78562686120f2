"""Name the folders and files of phototag, and read its configuration file.

A setting is looked up as: flag, then PHOTOTAG_* environment variable, then configuration file, then default. Click does
the first two (every option names its variable); the file becomes click's `default_map`.
"""

from __future__ import annotations

import codecs
import itertools
import os
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from phototag.errors import UsageError
from phototag.files import read_regular

# Set to keep everything (database, models, cache, configuration) under one folder instead of the platform's own.
HOME_VARIABLE = "PHOTOTAG_HOME"
CONFIG_VARIABLE = "PHOTOTAG_CONFIG"
_MOST_CONFIG_BYTES = 1 << 20


def full_path(path: str | Path) -> Path:
    """Return a path as an absolute one, with the home folder instead of "~" or "~name".

    Raises:
        UsageError: there is no such user, no home folder is known, or the working folder is gone.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{path}: no such user, or one without a home folder; write the path in full") from error
    except FileNotFoundError as error:
        raise UsageError(f"{path}: the working folder does not exist any more; change to another one") from error


def make_own_folder(folder: Path) -> None:
    """Make one of phototag's folders, and those that lead to it, for the user alone: they hold people's data.

    Raises:
        OSError: it cannot be made.
    """
    missing = itertools.takewhile(lambda place: not place.is_dir(), (folder, *folder.parents))
    for place in reversed(list(missing)):
        place.mkdir(mode=0o700, exist_ok=True)


def _folder(kind: str) -> Path:
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return full_path(home) / kind
    import platformdirs  # here, since a set PHOTOTAG_HOME needs none of it

    with suppress(RuntimeError):  # as its later versions say it
        folder: Path = getattr(platformdirs, f"user_{kind}_path")("phototag", appauthor=False)
        if folder.is_absolute():
            return folder
    raise UsageError(f"no home folder is known for this user; set HOME, or {HOME_VARIABLE} to a folder to use")


def data_folder() -> Path:
    """Return the folder of the database and the models."""
    return _folder("data")


def models_folder() -> Path:
    """Return the folder of trained models, one .safetensors each."""
    return data_folder() / "models"


def cache_folder() -> Path:
    """Return the folder of what can be computed again: features, converted models."""
    return _folder("cache")


def compile_privately() -> None:
    """Let torch.compile keep its code in phototag's cache; its own choice is a folder that all users share."""
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        folder = cache_folder() / "torchinductor"
        try:
            make_own_folder(folder)
        except OSError:
            import tempfile

            folder = Path(tempfile.mkdtemp(prefix="phototag-"))
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def default_database() -> Path:
    """Return the database used when neither --db nor PHOTOTAG_DB names one."""
    return data_folder() / "phototag.db"


def config_file() -> Path:
    """Return the path of the configuration file, whether it exists or not."""
    chosen = os.environ.get(CONFIG_VARIABLE)
    return full_path(chosen) if chosen else _folder("config") / "config.toml"


def load_config() -> dict[str, Any]:
    """Read the configuration file: top-level keys hold for every command, a [table] for the command of that name.

    Raises:
        UsageError: the file cannot be read, is not TOML, or PHOTOTAG_CONFIG names a file that is not there.
    """
    path = config_file()
    if str(path) == os.devnull:
        return {}  # the usual way to say: none
    try:
        return tomllib.loads(_text(read_regular(path, most_bytes=_MOST_CONFIG_BYTES)))
    except (FileNotFoundError, NotADirectoryError):  # the home of a service may be /dev/null
        if CONFIG_VARIABLE in os.environ:
            raise UsageError(f"{path}: no such file; {CONFIG_VARIABLE} names it") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _text(data: bytes) -> str:
    """Return the text of a file; editors and shells of Windows mark its encoding at the beginning."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")
