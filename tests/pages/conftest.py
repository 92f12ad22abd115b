"""Code blocks of pages written for Ray Tune, with the import lines that ``docs/tune.md`` says to change changed.

The pages themselves are no part of this repository. The environment variable ``TUNEFLOW_PAGES`` names the folder that
holds them; without it ``../shared/seeds`` beside the repository is looked at. Each test runs twice: on the blocks of
the page, skipped where it is not there, and on those of ``own_NNN.md``, which have the same order and use the same
names of the library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPENING = re.compile(r"^```(?P<language>\w*)\s*$")
IMPORT = re.compile(r"^(?P<indent>\s*)(?P<from>from\s+(?P<module>[\w.]+)\s+import\s+.+|import\s+(?P<plain>[\w.]+).*)$")
RULE = re.compile(r"^\| `(?P<old>ray[^`]*)` \| (`(?P<new>[^`]*)`|left out) \|")


def folder_of_pages() -> Path:
    return Path(os.environ.get("TUNEFLOW_PAGES", ROOT.parent / "shared" / "seeds"))


def text_of(source: str, page: str) -> str:
    """A page's text: the page itself, or our own of the same shape."""
    if source == "own":
        return (Path(__file__).parent / f"own_{page}.md").read_text(encoding="utf-8")
    found = sorted(folder_of_pages().glob(f"{page}_*.txt"))
    if not found:
        pytest.skip(f"page {page} is not in {folder_of_pages()}; TUNEFLOW_PAGES names the folder of the pages")
    return found[0].read_text(encoding="utf-8")


def fenced_blocks(text: str) -> list[str]:
    """All fenced blocks of a Markdown text, in order."""
    blocks: list[str] = []
    inside: list[str] | None = None
    for line in text.splitlines():
        if inside is None and OPENING.match(line):
            inside = []
        elif inside is not None and line.strip() == "```":
            blocks.append("\n".join(inside) + "\n")
            inside = None
        elif inside is not None:
            inside.append(line)
    return blocks


def import_rules() -> list[tuple[str, str]]:
    """What ``docs/tune.md`` says of import lines: module by module, the most special one first."""
    text = (ROOT / "docs" / "tune.md").read_text(encoding="utf-8")
    rules = [(match["old"], match["new"] or "") for match in map(RULE.match, text.splitlines()) if match]
    return sorted(rules, key=lambda rule: -len(rule[0]))


def changed_imports(code: str) -> str:
    """A block with its import lines changed by the rules, and nothing else."""
    return "\n".join(_changed(line) for line in code.split("\n"))


def _changed(line: str) -> str:
    match = IMPORT.match(line)
    if match is None:
        return line
    if line.strip() == "from ray import tune":
        return f"{match['indent']}import tuneflow as tune"
    module = match["module"] or match["plain"]
    for old, new in import_rules():
        pattern = re.escape(old).replace(re.escape("LIBRARY"), r"(?P<library>\w+)")
        if found := re.fullmatch(pattern, module):
            replacement = new.replace("LIBRARY", found.groupdict().get("library") or "")
            return f"{match['indent']}{match['from'].replace(module, replacement, 1)}" if new else match["indent"]
    return line


class Page:
    """One page's blocks, run one after the other in one namespace.

    Attributes:
        names: what the blocks see and define.
        source: "page" or "own".
        text: the whole page.
    """

    def __init__(self, source: str, page: str) -> None:
        self.source = source
        self.text = text_of(source, page)
        self.blocks = fenced_blocks(self.text)
        self._label = f"{source}_{page}"
        # A name that no module has: what is defined here goes to workers by value, as from a script.
        self.names: dict[str, Any] = {"__name__": f"page_{page}"}

    def run(
        self,
        number: int,
        *,
        supplied: Mapping[str, Any] | None = None,
        faults: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Runs a block.

        Args:
            number: which one, from 0.
            supplied: names that the page leaves out.
            faults: what is wrong on the page, and what it has to be; each has to be there.
        """
        code = self.blocks[number]
        for wrong, right in (faults or {}).items():
            assert wrong in code, f"block {number} no longer holds {wrong!r}"
            code = code.replace(wrong, right)
        self.names.update(supplied or {})
        exec(compile(changed_imports(code), f"{self._label}:{number}", "exec"), self.names)
        return self.names


@pytest.fixture(params=["page", "own"])
def page(request: pytest.FixtureRequest) -> Callable[[str], Page]:
    """Opens a page by its number."""
    return lambda number: Page(request.param, number)


@pytest.fixture
def with_our_imports() -> Callable[[str], str]:
    """The rule for import lines."""
    return changed_imports
