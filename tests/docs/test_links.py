"""Links within the repository lead somewhere: to a file, and to its heading."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.doc_blocks import doc_pages, parse_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*doc_pages(ROOT), ROOT / "CHANGELOG.md"]

FENCED = re.compile(r"^(`{3,})[^\n]*\n.*?^\1$\n?", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+).*?\1", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"\]\(\s*([^()\s]+)\s*\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def links_of(markdown: str) -> list[str]:
    """The targets of a page's links and pictures, those in code left out."""
    prose = COMMENT.sub("", CODE.sub("", FENCED.sub("", markdown)))
    return LINK.findall(prose)


def anchors_of(markdown: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    anchors: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", markdown)):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number, unique = 0, anchor
        while unique in anchors:
            number += 1
            unique = f"{anchor}-{number}"
        anchors.add(unique)
    return anchors


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in links_of(page.read_text()):
        if ELSEWHERE.match(link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        outside = target != page and not target.is_relative_to(ROOT)
        if outside or not target.exists():
            broken.append(f"{link}: no such file")
        elif anchor and anchor not in anchors_of(target.read_text()):
            broken.append(f"{link}: no such heading")
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for link in links_of(index.read_text())
    }
    assert set((ROOT / "docs").glob("*.md")) - linked == {index}


def test_both_readmes_have_the_same_headings_code_and_links() -> None:
    english, korean = (
        (ROOT / name).read_text() for name in ("README.md", "README.ko.md")
    )
    for same in (heading_levels, code_of):
        assert same(korean) == same(english)
    assert pages_linked(korean) == pages_linked(english)


def pages_linked(markdown: str) -> set[str]:
    """Where a README leads: not its own headings, nor the README it is a twin of."""
    links = {each for each in links_of(markdown) if not each.startswith("#")}
    return links - {"README.md", "README.ko.md"}


def heading_levels(markdown: str) -> list[int]:
    prose = FENCED.sub("", markdown)
    return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]


def code_of(markdown: str) -> list[tuple[str, str]]:
    """The blocks with their tags; comments in them are in the page's language."""
    blocks = parse_blocks(markdown)
    return [(each.tag, re.sub(r" +# .*", "", each.text)) for each in blocks]


def test_links_are_found_and_code_is_not() -> None:
    page = """\
[one](a.md) ![two](b.png) `[no](c.md)` <!-- [no](d.md) -->
```text
[no](e.md)
```
[three](f.md#x)
"""
    assert links_of(page) == ["a.md", "b.png", "f.md#x"]


def test_anchors_are_those_that_github_makes() -> None:
    page = """\
# What JSON, and `jsonb`, cannot hold
## Twice
## Twice
## [Linked](a.md) words
## 두 명령
```sh
# no heading
```
"""
    assert anchors_of(page) == {
        "what-json-and-jsonb-cannot-hold",
        "twice",
        "twice-1",
        "linked-words",
        "두-명령",
    }


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    page = ROOT / "docs" / "README.md"
    assert page.exists()
    broken = tmp_path / "page.md"
    broken.write_text("[a](nowhere.md) [b](#nothing) [c](https://example.com/x)")
    assert broken_links(broken) == [
        "nowhere.md: no such file",
        "#nothing: no such heading",
    ]
