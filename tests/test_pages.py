"""Links, anchors and file names in the documents, and the length of each page."""

import re
from collections import Counter
from urllib.parse import unquote

import pytest

from tests.conftest import REPOSITORY
from tests.test_wheel import files_in_git

PAGES = files_in_git("*.md")
# Ten minutes at 240 words per minute.
MAX_WORDS = 2400
CODE_BLOCK = re.compile(r"(?ms)^```.*?^```$")
LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)\"""")
HEADING = re.compile(r"(?m)^#{1,6} (.+)$")
EXPLICIT_ANCHOR = re.compile(r'<a id="([^"]+)">')
FILE = re.compile(
    r"`((?:assets|benchmarks|dagster_project|docs|examples|tests|toolformer|tools|warehouse)"
    r"/[\w/.-]+\.(?:py|sql|yaml|md|json|txt|jsonl|ipynb))`"
)


def prose_of(page: str) -> str:
    """Return a page without its code blocks."""
    return CODE_BLOCK.sub("", (REPOSITORY / page).read_text("utf-8"))


def anchors_of(page: str) -> set[str]:
    """Return the anchors of a page: those that GitHub gives to headings, and explicit ones."""
    text = prose_of(page)
    seen: Counter[str] = Counter()
    anchors = set(EXPLICIT_ANCHOR.findall(text))
    for heading in HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


def links_of(page: str) -> list[str]:
    """Return the targets of a page's links and pictures that belong to the repository."""
    found = [markdown or html for markdown, html in LINK.findall(prose_of(page))]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_a_file_and_an_anchor(page: str):
    broken = []
    for target in links_of(page):
        path, _, anchor = unquote(target).partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        if not file.exists():
            broken.append(f"{target}: no such file")
        elif anchor and file.suffix == ".md":
            other = str(file.resolve().relative_to(REPOSITORY))
            if anchor not in anchors_of(other):
                broken.append(f"{target}: no such heading")
    assert not broken


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str):
    named = FILE.findall(prose_of(page))
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_takes_ten_minutes_at_most(page: str):
    assert len((REPOSITORY / page).read_text("utf-8").split()) <= MAX_WORDS
