"""The files in contrib/container: an image, and services that run together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, parse

yaml = pytest.importorskip("yaml", reason="PyYAML comes with what builds the documentation")
FOLDER = ROOT / "contrib" / "container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
COMPOSE = (FOLDER / "compose.yaml").read_text("utf-8")


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return found


def test_image_is_made_of_files_that_are_there_and_runs_as_an_ordinary_user() -> None:
    for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER phototag$", last_stage, re.MULTILINE)
    assert last_stage.index("USER phototag") < last_stage.index("ENTRYPOINT")


@pytest.mark.parametrize("name", ["watch", "serve"])
def test_service_is_a_command_that_phototag_knows_and_only_reads_photos(name: str, tmp_path: Path) -> None:
    service = services()[name]
    (tmp_path / "page").write_text("a password\n", encoding="utf-8")
    parse([word.replace("/run/secrets", str(tmp_path)) for word in service["command"]])
    program, *words = service["healthcheck"]["test"][1:]
    if program == "phototag":
        parse(words)
    photos = next(volume for volume in service["volumes"] if ":/photos" in volume)
    assert photos.endswith(":ro")
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["init"]


def test_page_asks_for_a_password_and_only_this_computer_reaches_it() -> None:
    serve = services()["serve"]
    file = serve["command"][serve["command"].index("--password-file") + 1]
    assert file.removeprefix("/run/secrets/") in serve["secrets"]
    assert all(port.startswith("127.0.0.1:") for port in serve["ports"])
    assert "ports" not in services()["database"]


def test_every_value_that_has_to_be_given_is_in_the_example() -> None:
    example = set(re.findall(r"^(\w+)=", (FOLDER / "env.example").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+):\?", COMPOSE)) <= example
    assert yaml.safe_load(COMPOSE)["secrets"]["page"]["environment"] in example
