"""Fluent Bit and Fluentd as programs of this machine, with a page's configuration.

It owns their processes, what stands around the page's configuration (an input that
tails a file), and the words for a program that is not there. It knows nothing of
penstock.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

END_SECONDS = 20.0

FLUENT_BIT = """\
service:
  flush: 0.2
includes:
"""
FLUENT_BIT_INPUT = """\
pipeline:
  inputs:
    - name: tail
      path: {lines}
      tag: {tag}
      parser: lines
      read_from_head: on
parsers:
  - name: lines
    format: json
"""
FLUENTD = """\
<source>
  @type tail
  path {lines}
  tag {tag}
  read_from_head true
  <parse>
    @type json
  </parse>
</source>
<label @FLUENT_LOG>
  <match **>
    @type null
  </match>
</label>
"""
HOW_TO_GET = {
    "fluent-bit": "https://docs.fluentbit.io/manual/installation; Debian and Ubuntu:"
    " its own repository, package fluent-bit; macOS: brew install fluent-bit",
    "fluentd": "https://docs.fluentd.org/installation; with Ruby 3.2 or newer:"
    " gem install fluentd",
}


class Agent:
    """One program that sends the lines of a file, in a directory of its own."""

    program = ""
    suffix = ""

    def __init__(self, directory: Path) -> None:
        found = shutil.which(self.program)
        if found is None:
            pytest.fail(
                f"{self.program} is not on PATH; `make clients` runs the real one."
                f" To get it: {HOW_TO_GET[self.program]}",
                pytrace=False,
            )
        self._executable = found
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def lines(self) -> Path:
        """Return the file that it sends."""
        return self._directory / "lines"

    def write(self, count: int, begin: int = 0) -> None:
        """Write so many lines, numbered, for it to send."""
        with self.lines.open("a") as lines:
            for n in range(begin, begin + count):
                lines.write(json.dumps({"message": f"line {n}", "n": n}) + "\n")

    def start(self, *documented: str, tag: str = "lines") -> None:
        """Start it with the page's configurations; lines are sent under this tag."""
        included = [
            self._write(f"documented-{number}{self.suffix}", text)
            for number, text in enumerate(documented)
        ]
        command = self._command(included, tag)
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"HOME": str(self._directory)},
                start_new_session=True,
            )

    def _command(self, documented: list[Path], tag: str) -> Sequence[str]:
        raise NotImplementedError

    def _write(self, name: str, text: str) -> Path:
        path = self._directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def is_running(self) -> bool:
        """Tell whether it has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Kill it: what it has not sent it keeps nowhere."""
        if self._process is None:
            return
        if self.is_running():
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(END_SECONDS)
        self._process = None

    def output(self) -> str:
        """Return the last of what it has said."""
        return (self._directory / "output").read_text(errors="replace")[-3000:]


class FluentBit(Agent):
    """Fluent Bit."""

    program = "fluent-bit"
    suffix = ".yaml"

    def _command(self, documented: list[Path], tag: str) -> Sequence[str]:
        main = FLUENT_BIT + "".join(f"  - {file}\n" for file in documented)
        main += FLUENT_BIT_INPUT.format(lines=self.lines, tag=tag)
        return (self._executable, "-c", str(self._write("main.yaml", main)))


class Fluentd(Agent):
    """Fluentd."""

    program = "fluentd"
    suffix = ".conf"

    def _command(self, documented: list[Path], tag: str) -> Sequence[str]:
        main = FLUENTD.format(lines=self.lines, tag=tag)
        main += "".join(f"@include {file}\n" for file in documented)
        main_file = self._write("main.conf", main)
        return (self._executable, "--no-supervisor", "-c", str(main_file))


AGENTS: dict[str, type[Agent]] = {each.program: each for each in (FluentBit, Fluentd)}
