"""The benchmarks can be asked, and their report is drawn from what they write."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as bench
from benchmarks import performance, question, report, stage

ROOT = Path(__file__).resolve().parents[3]
# Results of small runs, as each benchmark wrote it.
SAMPLES = ROOT / "tests" / "data" / "benchmark_results"


@pytest.mark.parametrize("name", bench.ALL)
def test_a_benchmark_tells_its_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        question.answer(bench.question(name), ["--help"])
    assert ended.value.code == 0
    assert "--timeout" in capsys.readouterr().out


@pytest.mark.parametrize("name", bench.ALL)
def test_a_result_reads_as_tables_and_as_a_picture(name: str) -> None:
    asked = bench.question(name)
    result = json.loads((SAMPLES / f"{name}.json").read_text())
    for sheet in asked.sheets(result):
        assert sheet.rows
        assert all(len(row) == len(sheet.headings) for row in sheet.rows)
    if asked.draw is not None:
        assert ElementTree.fromstring(asked.draw(result)).tag.endswith("svg")


def test_the_page_is_written_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    before = (ROOT / "docs" / "performance.md").read_text()
    page.write_text(before)
    arguments = ["--results", str(SAMPLES), "--docs", str(tmp_path)]
    assert performance.main(arguments) == 0
    written = page.read_text()
    assert written.splitlines()[:20] == before.splitlines()[:20]
    for name in bench.ALL:
        assert f'ARGS="{name}' in written
    images = {image.name for image in (tmp_path / "images").iterdir()}
    assert {"performance-end_to_end.svg", "performance-latency.svg"} <= images
    assert all(f"images/{image}" in written for image in images)
    # Again, and nothing is written twice.
    assert performance.main(arguments) == 0
    assert page.read_text() == written


def test_a_missed_target_is_told(tmp_path: Path) -> None:
    result = json.loads((SAMPLES / "end_to_end.json").read_text())
    result["ratio_to_limit"] = 0.5
    text = performance.targets([(bench.question("end_to_end"), result)])
    assert "| 0.500 | **no** |" in text
    assert "targets are missed" in text


def test_without_results_there_is_no_report(tmp_path: Path) -> None:
    assert performance.main(["--results", str(tmp_path)]) == 1


def test_a_benchmark_that_does_not_exist_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nonsense"], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 2
    assert b"end_to_end" in done.stderr


def test_the_encoder_is_measured_and_its_result_written(tmp_path: Path) -> None:
    options = ["--events=500", "--chunk-events=100", "--pairs=1", "--only=syslog"]
    command = [sys.executable, "-m", "benchmarks", "encoder", *options]
    command += ["--json", "-", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "encoder.json").read_text())
    assert result["command"] == (
        'make bench ARGS="encoder --events=500 --chunk-events=100 --pairs=1'
        ' --only=syslog"'
    )
    assert result["shapes"]["syslog"]["in_force"]["rows_per_second"] > 0
    assert result["encoder"] == report.encoder_in_force()


WRITES_ON = """
import os, sys, time
os.chdir(sys.argv[1])
end, number = time.monotonic() + 1, 0
while time.monotonic() < end:
    os.close(os.open(str(number), os.O_CREAT))
    number += 1
    if number == 100:
        print(flush=True)
"""


def test_what_is_written_while_a_benchmark_is_interrupted_is_removed(
    tmp_path: Path,
) -> None:
    """As by an initdb, which goes on for a moment; the interrupt is what is told."""
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(KeyboardInterrupt))
        directory = stack.enter_context(stage.work_dir(tmp_path))
        within = directory / "within"
        within.mkdir()
        writing = subprocess.Popen(
            [sys.executable, "-c", WRITES_ON, within],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert writing.stdout is not None
        assert writing.stdout.readline(), "it has begun"
        raise KeyboardInterrupt
    writing.communicate()
    assert list(tmp_path.iterdir()) == []
