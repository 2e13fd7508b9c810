"""The pages: their links lead somewhere, and the repository's files name no machine."""

import re
import subprocess

import pytest

from tests.needs import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


def test_the_readme_shows_code_before_line_30():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 30


def test_every_module_that_architecture_names_is_there():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`((?:serve|export|automm|docs)/[\w./]+)`", text)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_package_of_pyproject_has_a_line_among_the_dependencies():
    text = (ROOT / "docs" / "dependencies.md").read_text().lower()
    required = re.findall(
        r'^    "([\w-]+)(?:\[[\w,]+\])?>=', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert len(required) > 20
    assert not [name for name in required if name.lower() not in text]


def test_no_file_names_an_index_or_a_download():
    """Pins hold wherever pip is told to look; a host in them would be some machine's own."""
    files = [*ROOT.glob("requirements/*"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    files += [*ROOT.glob("scripts/*.py"), *ROOT.glob("examples/**/*.json")]
    hosts = re.compile(r"https?://|--(extra-)?index-url|--find-links")
    assert not [file.name for file in files if hosts.search(file.read_text())]


def test_the_help_of_make_names_every_target():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert targets
    assert not [name for name in targets[1].split() if f"make {name} " not in said.stdout]
