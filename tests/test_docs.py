"""The Markdown pages name only what exists: links, files and make targets."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "wmgym").rglob("*.md"),
        *(ROOT / "agents").rglob("*.md"),
    ]
)
HISTORY = {ROOT / "CHANGELOG.md", ROOT / "docs/log.md"}  # may name what has gone since
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
CODE_BLOCK = re.compile(r"```.*?```", re.DOTALL)


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    prose = CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose)
    local = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HISTORY], ids=name_of)
def test_named_files_and_make_targets_exist(page):
    code = "\n".join(re.findall(r"`+([^`]+)`+", page.read_text(encoding="utf-8")))
    files = re.findall(
        r"(?<![\w./-])((?:wmgym|agents|model|experiments|tests|docs)/[\w/]+\.(?:py|md|json|png|gif))", code
    )
    targets = re.findall(r"(?:^|\n)\s*(?:\$ )?make ([a-z-]+)", code)
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert set(targets) <= TARGETS
