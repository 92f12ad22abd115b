"""Every Python block of the documentation runs, as do the examples, and no relative link leads nowhere.

A block that cannot run near a test is preceded by ``<!-- not run: reason -->``, one that needs a library outside the
development group by ``<!-- needs: ray, wandb -->``; an example says so with the same words in a comment line. What
is not run shows up as a skipped test with its reason.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.exists()]
# Those with tests of their own, which look at what they print, are run there.
TESTED = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "tests" / "examples").glob("test_*.py"))
EXAMPLES = [page for page in sorted((ROOT / "examples").glob("*.py")) if page.stem not in TESTED]
OPENING = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<language>[\w+-]*)")
REMARK = re.compile(r"^(<!--|#) (?P<kind>not run|needs): (?P<what>.+?)( -->)?$")
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A Python block of a page: its first line (counted from 1), its lines, and why it is not run."""

    first_line: int
    lines: tuple[str, ...]
    reason: str | None


def reason_in(line: str) -> str | None:
    """Why a remark says that what follows is not run; None where it is run or the line is no such remark."""
    remark = REMARK.match(line.strip())
    if remark is None:
        return None
    if remark["kind"] == "not run":
        return remark["what"]
    missing = [name for name in re.split(r"[ ,]+", remark["what"]) if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(missing)}" if missing else None


def python_blocks(text: str) -> list[Block]:
    """The ``python`` blocks of a Markdown text, in order."""
    blocks = []
    reason = None
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if opening := OPENING.match(line):
            indent = len(opening["indent"])
            inside = []
            for _, inner in lines:
                if inner.strip() == opening["fence"]:
                    break
                inside.append(inner[indent:] if not inner[:indent].strip() else inner)
            if opening["language"] == "python":
                blocks.append(Block(number + 1, tuple(inside), reason))
            reason = None
        elif line.strip():
            reason = reason_in(line)
    return blocks


def script(blocks: list[Block]) -> str:
    """The blocks that are run as one program, every line where the page has it, so that tracebacks point there."""
    lines: list[str] = []
    for block in blocks:
        if block.reason is None:
            lines += [""] * (block.first_line - 1 - len(lines))
            lines += block.lines
    return "\n".join(lines) + "\n"


def run_program(path: Path) -> None:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, f"{path.name} failed\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


PAGES_THAT_RUN = [page for page in PAGES if script(python_blocks(page.read_text(encoding="utf-8"))).strip()]
NOT_RUN_BLOCKS = [
    (page, block) for page in PAGES for block in python_blocks(page.read_text(encoding="utf-8")) if block.reason
]


@pytest.mark.parametrize("page", PAGES_THAT_RUN, ids=named)
def test_blocks_run(page, tmp_path):
    program = tmp_path / f"{page.stem}_page.py"  # not under the name of the library that it is about
    program.write_text(script(python_blocks(page.read_text(encoding="utf-8"))), encoding="utf-8")
    run_program(program)


@pytest.mark.parametrize(
    ("page", "block"), NOT_RUN_BLOCKS, ids=[f"{named(page)}:{block.first_line}" for page, block in NOT_RUN_BLOCKS]
)
def test_blocks_not_run(page, block):
    compile("\n".join(block.lines), f"{named(page)}:{block.first_line}", "exec")
    pytest.skip(block.reason)


@pytest.mark.parametrize("example", EXAMPLES, ids=named)
def test_example_runs(example):
    reasons = filter(None, map(reason_in, example.read_text(encoding="utf-8").splitlines()))
    if reason := next(reasons, None):
        pytest.skip(reason)
    run_program(example)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_somewhere(page):
    targets = {match["target"].split("#")[0] for match in LINK.finditer(page.read_text(encoding="utf-8"))}
    broken = [t for t in sorted(targets) if t and ":" not in t and not (page.parent / t).exists()]
    assert broken == []


def test_the_reader_of_pages():
    page = "\n".join(
        [
            "# Title", "```python", "a = 1", "```", "text", "", "<!-- not run: needs a cluster -->", "", "```python",
            "import cluster", "```", "1. item", "   ```python", "   if a:", "       b = a + 1", "   ```", "```console",
            "$ ls", "```", "```", "not python", "```",
        ]
    )  # fmt: skip
    blocks = python_blocks(page)
    assert [(block.first_line, block.reason) for block in blocks] == [(3, None), (10, "needs a cluster"), (14, None)]
    program = script(blocks).splitlines()
    assert (program[2], program[13:15]) == ("a = 1", ["if a:", "    b = a + 1"])
    assert "import cluster" not in program


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("<!-- not run: opens a browser -->", "opens a browser"),
        ("# not run: takes an hour", "takes an hour"),
        ("<!-- needs: json, no_such_library -->", "needs no_such_library"),
        ("# needs: json", None),
        ("# Needs patience", None),
    ],
)
def test_remarks(line, reason):
    assert reason_in(line) == reason


def test_a_remark_counts_for_the_next_block_only():
    page = "<!-- not run: slow -->\nbut some text\n```python\nx\n```\n"
    assert [block.reason for block in python_blocks(page)] == [None]
