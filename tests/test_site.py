"""The reading pages of `make site`, without the packages that build them."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from site_source.check import faults, style_requests
from site_source.hangul import is_hangul
from site_source.pages import (
    PREVIEW_IMAGE,
    Page,
    SiteError,
    base_address,
    description,
    not_found,
    pages,
    rewrite_links,
    source_address,
    stage,
    table_of_contents,
)

ROOT = Path(__file__).resolve().parents[1]
START = Page("README.md", "en", "index")
LESSON = Page("notebooks/01_labelling.ipynb", "en", "notebooks/01_labelling")
KOREAN_LESSON = Page("notebooks/ko/01_labelling.ipynb", "ko", "notebooks/01_labelling")


@pytest.mark.parametrize("language, folder", [("en", "notebooks"), ("ko", "notebooks/ko")])
def test_every_notebook_stands_in_the_table_of_contents_in_order(language, folder):
    names = [path.stem for path in sorted((ROOT / folder).glob("*.ipynb"))]
    assert re.findall(r"^notebooks/(\w+)$", table_of_contents(language), re.MULTILINE) == names
    assert len(names) == 5


def test_every_page_of_results_and_the_data_card_stand_in_the_table_of_contents():
    documents = [f"results/{path.stem}" for path in (ROOT / "results").glob("*.md")]
    assert set(table_of_contents("en").split()) >= {*documents, "data/README"}


def test_no_two_pages_have_one_address():
    addresses = [page.address for page in pages()]
    assert len(addresses) == len(set(addresses))
    assert {"index.html", "ko/index.html"} <= set(addresses)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_link_of_every_page_can_be_rewritten(tmp_path, language):
    stage(language, tmp_path)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    expected = {f"{page.document}{page.suffix}" for page in pages() if page.language == language}
    assert expected <= written
    for path in [*tmp_path.rglob("*.md"), *tmp_path.rglob("*.ipynb")]:
        assert "colab-badge.svg" not in path.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize(
    "page, link, expected",
    [
        (START, "[a](notebooks/01_labelling.ipynb)", "[a](/notebooks/01_labelling.ipynb)"),
        (LESSON, "[a](../README.md)", "[a](/index.md)"),
        (KOREAN_LESSON, "[a](../../README.ko.md#x)", "[a](/index.md#x)"),
        (LESSON, "[a](../results/text-cnn.md)", "[a](/results/text-cnn.md)"),
        (
            KOREAN_LESSON,
            "[a](../01_labelling.ipynb)",
            '<a href="../../notebooks/01_labelling.html" hreflang="en">a</a>',
        ),
        (START, "[한국어](README.ko.md)", '<a href="ko/index.html" hreflang="ko">한국어</a>'),
        (START, f"![a]({PREVIEW_IMAGE})", f"![a](/{PREVIEW_IMAGE})"),
        (START, "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
        (START, "[a](#sources)", "[a](#sources)"),
        (START, "```\n[a](missing.md)\n```", "```\n[a](missing.md)\n```"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(page, link, expected):
    assert rewrite_links(link, page) == expected


def test_a_link_to_any_other_file_leads_to_its_source_in_the_repository_of_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.tutorial]\nrepository = "Someone/lessons"\nrevision = "v2"\n')
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "bert.py").touch()
    source = "https://github.com/Someone/lessons/blob/v2/utils/bert.py"
    assert rewrite_links("[a](../utils/bert.py#L3)", LESSON, tmp_path) == f"[a]({source}#L3)"
    assert source_address("utils", tmp_path) == "https://github.com/Someone/lessons/tree/v2/utils"
    assert base_address(tmp_path) == "https://someone.github.io/lessons/"


def test_a_colab_badge_becomes_a_link_of_words():
    badge = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.example/x)"
    assert rewrite_links(badge, LESSON) == "[Open in Colab](https://colab.example/x)"


@pytest.mark.parametrize("link", ["[a](missing.md)", "[a](../../outside.md)", "![a](https://example.org/a.png)"])
def test_a_link_to_nothing_and_an_image_of_another_host_stop_the_build(link):
    with pytest.raises(SiteError, match="README.md"):
        rewrite_links(link, START)


def test_a_description_is_the_first_prose_in_the_language_of_the_page():
    korean = (
        "논쟁 댓글이란 독자의 공감과 비공감이 반반으로 갈리고 그렇다고 확신할 만큼 표가 모인 댓글입니다. 그것을 셉니다."
    )
    english = "* count `votes` and **label** the comments of every article, one after another,"
    text = f"# Title\n\n{korean}\n\n{english}\n"
    assert description(text, "ko") == korean
    assert description(text, "en") == "Count votes and label the comments of every article, one after another,"
    assert len(description("word " * 100, "en")) <= 200


# ------------------------------------------------------------------------------------------- the check

START_OF_SITE = urlsplit(base_address()).path
HEAD = (
    '<title>t</title><meta name="description" content="d"><meta property="og:title" content="t">'
    '<meta property="og:description" content="d"><meta property="og:image" content="https://example.org/i.png">'
    '<meta property="og:url" content="https://example.org/">'
)


def found_in(folder: Path, body: str, head: str = HEAD, language: str = "en") -> list[str]:
    (folder / "index.html").write_text(f'<html lang="{language}"><head>{head}</head><body>{body}</body></html>')
    return faults(folder)


@pytest.mark.parametrize(
    "body", ['<a href="https://example.org">x</a>', '<p id="a"></p><a href="#a">x</a>', "<p>url</p>"]
)
def test_the_check_finds_nothing_wrong_with_a_sound_page(tmp_path, body):
    assert found_in(tmp_path, body) == []


@pytest.mark.parametrize(
    "body, fault",
    [
        ('<a href="other.html">x</a>', "link other.html leads to no page"),
        ('<a href="#nowhere">x</a>', "link #nowhere leads to no anchor"),
        ('<a href="/index.html">x</a>', "link /index.html leads to no page"),
        ('<img alt="a" src="https://example.org/a.png">', "loads https://example.org/a.png"),
        ('<img alt="a" src="a.png">', "loads a.png: no such file"),
        ('<script src="//example.org/a.js"></script>', "loads //example.org/a.js"),
        ('<script>import("https://example.org/a.js")</script>', "loads https://example.org/a.js"),
        ('<p style="background: url(https://example.org/a.png)"></p>', "loads https://example.org/a.png"),
        ('<link rel="stylesheet" href="https://example.org/a.css">', "loads https://example.org/a.css"),
        ('<img alt="" src="data:image/png;base64,">', "has no alt text"),
    ],
)
def test_the_check_names_a_fault(tmp_path, body, fault):
    assert [fault in line for line in found_in(tmp_path, body)] == [True]


@pytest.mark.parametrize(
    "link, found",
    [
        ("/elsewhere/index.html", ["404.html: link /elsewhere/index.html leads to no page"]),
        ("index.html", ["404.html: link index.html leads to no page"]),
        (f"{START_OF_SITE}missing.html", [f"404.html: link {START_OF_SITE}missing.html leads to no page"]),
        (f"{START_OF_SITE}index.html", []),
    ],
)
def test_links_of_the_page_for_unknown_addresses_start_at_the_root_of_the_host(tmp_path, link, found):
    page = f'<html lang="en"><head><title>t</title></head><body><a href="{link}">x</a></body></html>'
    (tmp_path / "404.html").write_text(page)
    assert found_in(tmp_path, "") == found


def test_the_page_for_unknown_addresses_leads_to_both_editions():
    hrefs = re.findall(r'href="([^"]+)"', not_found()["body"])
    addresses = {page.address for page in pages() if page.document == "index"}
    assert set(hrefs) == {START_OF_SITE + address for address in addresses}


def test_the_check_wants_metadata_and_a_language(tmp_path):
    lines = found_in(tmp_path, "", head="", language="ko")
    assert any('lang is "ko", not "en"' in line for line in lines)
    for name in ("title", "description", "og:title"):
        assert f"index.html: has no {name}" in lines


def test_the_check_reads_stylesheets_and_scripts(tmp_path):
    (tmp_path / "a.css").write_text('@import "https://example.org/b.css"; p { background: url("data:image/png;x") }')
    (tmp_path / "a.js").write_text('fetch("https://example.org/data")')
    assert found_in(tmp_path, "") == ["a.css: loads https://example.org/b.css", "a.js: loads https://example.org/data"]
    assert style_requests("@import url(x.css); a { b: url('y.png') }") == ["x.css", "y.png"]


def test_an_empty_folder_is_no_site(tmp_path):
    assert "run make site" in faults(tmp_path)[0]


# ------------------------------------------------------------------------------------------- the rest


def test_the_hangul_font_covers_the_range_that_the_stylesheet_names():
    css = (ROOT / "site_source" / "static" / "site.css").read_text(encoding="utf-8")
    ranges = re.findall(r"U\+([0-9A-F]+)-([0-9A-F]+)", css)
    ends = [int(end, 16) for pair in ranges for end in pair]
    assert len(ends) == 6 and all(is_hangul(chr(end)) for end in ends)
    beyond = [low - 1 for low in ends[::2]] + [high + 1 for high in ends[1::2]]
    assert not any(is_hangul(chr(code)) for code in beyond)


def test_the_requirements_of_the_site_are_pinned():
    lines = (ROOT / "requirements-site.txt").read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if not line.startswith("#")]
    assert names and all(re.fullmatch(r"[\w-]+==[\d.]+", name) for name in names)


def test_the_workflow_publishes_what_make_site_builds():
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["publish"]["steps"]
    commands = [step.get("run", step.get("uses", "")).partition("@")[0] for step in steps]
    build = commands.index("make site PYTHON=python")
    assert commands[build + 1 :] == ["actions/upload-pages-artifact", "actions/deploy-pages"]
    assert steps[build + 1]["with"]["path"] == "site"
    # YAML 1.1 reads the key `on` as True.
    assert workflow[True]["push"]["branches"] == ["main"]
