"""The files in contrib/ that start the watcher with the computer."""

from __future__ import annotations

import configparser
import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, parse

UNIT = ROOT / "contrib" / "systemd" / "phototag.service"
AGENT = ROOT / "contrib" / "launchd" / "phototag.watch.plist"


def test_unit_watches_and_comes_back_after_failures() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text("utf-8"))
    program, *words = unit["Service"]["ExecStart"].split()
    assert Path(program).name == "phototag"
    assert words[0] == "watch"
    parse(words)
    assert unit["Service"]["Restart"] == "on-failure"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here to ask")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    file = tmp_path / "phototag.service"
    text = UNIT.read_text("utf-8").replace("%h/.local/bin/phototag", sys.executable)
    file.write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "--user", "verify", str(file)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "phototag.service" not in done.stderr, done.stderr


def test_agent_watches_and_stays_stopped_when_stopped_on_purpose() -> None:
    agent = plistlib.loads(AGENT.read_bytes())
    program, *words = agent["ProgramArguments"]
    assert Path(program).name == "phototag"
    assert words[0] == "watch"
    parse(words)
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["Label"] == AGENT.stem
