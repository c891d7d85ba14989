"""Which files of the repository become pages, and how their links change on the way. Standard library only.

The READMEs, notebooks and results stay as they are: `stage` writes copies for Sphinx in which a link to another page
leads to that page, a link to any other file of the repository to its source on GitHub, and the Colab badge, an image
from another host, is a plain link.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from urllib.parse import quote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = ("en", "ko")
# Where an edition's pages stand in site/.
FOLDERS = {"en": "", "ko": "ko/"}
READMES = {"en": "README.md", "ko": "README.ko.md"}
NOTEBOOKS = {"en": "notebooks", "ko": "notebooks/ko"}
CAPTIONS = {"en": ("Notebooks", "Results and data"), "ko": ("노트북", "")}
SOURCE_LABELS = {"en": "Source on GitHub", "ko": "GitHub에서 소스 보기"}
OTHER_EDITION = {"en": ("ko", "한국어판"), "ko": ("en", "English edition")}
PREVIEW_IMAGE = "results/movie-reviews/comparison_auroc.png"
LONGEST_DESCRIPTION = 200

FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
BADGE = re.compile(r"\[!\[([^\]]*)\]\([^)]*colab-badge\.svg\)\]\(([^)\s]+)\)")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
BLOCK_START = re.compile(r"[#!|<\[`]")


class SiteError(ValueError):
    """A page cannot be built; the message names the page and what is wrong with it."""


@dataclass(frozen=True)
class Page:
    """A file of the repository and the page it becomes: `source` and `document` are paths with forward slashes."""

    source: str
    language: str
    document: str

    @property
    def address(self) -> str:
        """The page's path in site/."""
        return f"{FOLDERS[self.language]}{self.document}.html"

    @property
    def suffix(self) -> str:
        """`.md` or `.ipynb`."""
        return PurePosixPath(self.source).suffix


def pages(root: Path = ROOT) -> list[Page]:
    """Return every page in the order of the table of contents; each edition starts with its README."""
    found = []
    for language in LANGUAGES:
        found.append(Page(READMES[language], language, "index"))
        for path in sorted((root / NOTEBOOKS[language]).glob("[0-9][0-9]_*.ipynb")):
            found.append(Page(f"{NOTEBOOKS[language]}/{path.name}", language, f"notebooks/{path.stem}"))
    for path in [*sorted((root / "results").glob("*.md")), root / "data" / "README.md"]:
        source = path.relative_to(root).as_posix()
        found.append(Page(source, "en", source.removesuffix(".md")))
    return found


def repository_and_revision(root: Path = ROOT) -> tuple[str, str]:
    """Return `account/name` on GitHub and the branch or tag that links lead to, from pyproject.toml."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["tutorial"]
    return settings["repository"], settings["revision"]


def base_address(root: Path = ROOT) -> str:
    """Return the address of the published site on GitHub Pages, ending in a slash."""
    account, name = repository_and_revision(root)[0].split("/")
    return f"https://{account.lower()}.github.io/{name}/"


def source_address(path: str, root: Path = ROOT) -> str:
    """Return where a file or folder of the repository can be read on GitHub."""
    repository, revision = repository_and_revision(root)
    kind = "tree" if (root / path).is_dir() else "blob"
    return f"https://github.com/{repository}/{kind}/{revision}/{quote(path)}"


def counterpart(page: Page, root: Path = ROOT) -> Page | None:
    """Return the same page in the other language, None where there is none."""
    return next((p for p in pages(root) if p.document == page.document and p.language != page.language), None)


def not_found(root: Path = ROOT) -> dict[str, str]:
    """Return title and HTML of the page that stands in for every unknown address; its links work from any folder."""
    start = urlsplit(base_address(root)).path
    body = (
        "<h1>There is no such page</h1>"
        f'<p>It may have moved: the <a href="{start}index.html">start page</a> leads to every notebook and result.</p>'
        '<p lang="ko">이 주소에는 페이지가 없습니다. '
        f'<a href="{start}ko/index.html" hreflang="ko">첫 페이지</a>에서 모든 노트북으로 갈 수 있습니다.</p>'
    )
    return {"title": "There is no such page", "body": body}


# ------------------------------------------------------------------------------------------- links and text


def rewrite_links(markdown: str, page: Page, root: Path = ROOT) -> str:
    """Return a page's Markdown with its links as the site needs them; code blocks stay as they are.

    Raises
    ------
    SiteError
        A link leads to a file that the repository does not have, or an image would come from another host.
    """
    markdown = BADGE.sub(r"[\1](\2)", markdown)
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [_rewrite(markdown[end : fence.start()], page, root), fence[0]]
        end = fence.end()
    return "".join([*parts, _rewrite(markdown[end:], page, root)])


def _rewrite(text: str, page: Page, root: Path) -> str:
    def replace(match: re.Match[str]) -> str:
        image, label, target = match.groups()
        if not image:
            label = LINK.sub(replace, label)
        return _link(image, label, target, page, root)

    return LINK.sub(replace, text)


def _link(image: str, label: str, target: str, page: Page, root: Path) -> str:
    unchanged = f"{image}[{label}]({target})"
    if re.match(r"[a-z]+:|//", target):
        if image:
            raise SiteError(f"{page.source}: the image {target} would be a request to another host.")
        return unchanged
    path, hash_, anchor = target.partition("#")
    if not path:
        return unchanged
    path = normpath(f"{PurePosixPath(page.source).parent}/{path}")
    if path.startswith("..") or not (root / path).exists():
        raise SiteError(f"{page.source}: the link {target} leads to {path}, which is not in the repository.")
    if image:
        # `stage` puts an image where its path in the repository says, beside the pages of the edition.
        return f"![{label}](/{path})"
    linked = next((candidate for candidate in pages(root) if candidate.source == path), None)
    if linked is None:
        return f"[{label}]({source_address(path, root)}{hash_}{anchor})"
    if linked.language != page.language:
        # The other edition is another Sphinx project, so the link is plain HTML; check.py follows it in site/.
        address = relpath(linked.address, PurePosixPath(page.address).parent.as_posix())
        return f'<a href="{address}{hash_}{anchor}" hreflang="{linked.language}">{label}</a>'
    return f"[{label}](/{linked.document}{linked.suffix}{hash_}{anchor})"


def images(markdown: str) -> list[str]:
    """Return the images that rewritten Markdown shows, as paths in the repository."""
    return [match[3].removeprefix("/") for match in LINK.finditer(FENCE.sub("", markdown)) if match[1]]


def description(markdown: str, language: str) -> str:
    """Return what a page is about, for search engines and link previews, from its first paragraph or list.

    An English notebook opens with a Korean summary, so its list of what you will do is taken; a page without a first
    paragraph gives its title.
    """
    blocks = [block.strip() for block in re.split(r"\n\s*\n", FENCE.sub("", markdown))]
    title = next((block.lstrip("# ") for block in blocks if block.startswith("# ")), "")
    prose = [_plain(block) for block in blocks if block and not BLOCK_START.match(block)]
    prose = [text for text in prose if len(text) > 60 and not text.startswith(("on ", "Written by"))]
    fits = [text for text in prose if language == "ko" or _hangul_share(text) < 0.2]
    text = fits[0] if fits else _plain(title)
    text = text[:1].upper() + text[1:]
    if len(text) <= LONGEST_DESCRIPTION:
        return text
    return text[: LONGEST_DESCRIPTION - 1].rsplit(" ", 1)[0].rstrip(",.;:") + "…"


def _plain(markdown: str) -> str:
    text = LINK.sub(r"\2", markdown)
    text = re.sub(r"^\s*[*-] ", "", text, flags=re.MULTILINE)
    return " ".join(re.sub(r"[`$*\\]|<[^>]+>", "", text).split())


def _hangul_share(text: str) -> float:
    return sum("가" <= character <= "힣" for character in text) / max(len(text), 1)


# ----------------------------------------------------------------------------------------------- staging


def stage(language: str, folder: Path, root: Path = ROOT) -> None:
    """Write one edition's pages into a folder, as the source of a Sphinx project.

    Raises
    ------
    SiteError
        As from `rewrite_links`.
    """
    shown: set[str] = set()
    for page in pages(root):
        if page.language != language:
            continue
        text = (root / page.source).read_text(encoding="utf-8")
        target = folder / f"{page.document}{page.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if page.suffix == ".ipynb":
            notebook, used = _staged_notebook(json.loads(text), page, root)
            target.write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf-8")
        else:
            about = description(text, language)
            body = rewrite_links(text, page, root)
            used = images(body)
            front = f"---\n{json.dumps('og:description')}: {json.dumps(about, ensure_ascii=False)}\n---\n"
            contents = table_of_contents(language, root) if page.document == "index" else ""
            target.write_text(f"{front}{body}\n{contents}", encoding="utf-8")
        shown.update(used)
    for image in shown:
        target = folder / image
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((root / image).read_bytes())


def _staged_notebook(notebook: dict, page: Page, root: Path) -> tuple[dict, list[str]]:
    first = "".join(notebook["cells"][0]["source"])
    about = description(first, page.language)
    used = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            cell["source"] = rewrite_links("".join(cell["source"]), page, root)
            used += images(cell["source"])
            if number == 0:
                cell["source"] = _with_page_links(cell["source"], page, root)
        elif any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            cell["metadata"]["mystnb"] = {"image": {"alt": _figure_text(notebook["cells"], number)}}
    notebook["metadata"]["og:description"] = about
    return notebook, used


def _with_page_links(title_cell: str, page: Page, root: Path) -> str:
    """Put source and other edition beside the Colab link of a notebook's title cell."""
    links = [f"[{SOURCE_LABELS[page.language]}]({source_address(page.source, root)})"]
    other = counterpart(page, root)
    if other is not None and f'hreflang="{other.language}"' not in title_cell:
        link = f"[{OTHER_EDITION[page.language][1]}]({relpath(other.source, PurePosixPath(page.source).parent)})"
        links.append(rewrite_links(link, page, root))
    return re.sub(
        r"^\[[^\]]*\]\(https://colab\.research\.google\.com/[^)]*\)$",
        lambda match: " · ".join([match[0], *links]),
        title_cell,
        count=1,
        flags=re.MULTILINE,
    )


def _figure_text(cells: list[dict], number: int) -> str:
    """Return the text that stands in for a figure: the description in italics after it, else the prose before it."""
    after = "".join(cells[number + 1]["source"]) if number + 1 < len(cells) else ""
    if described := re.match(r"\*[^*].*?[^*]\*$", after.partition("\n\n")[0], re.DOTALL):
        return _plain(described[0])
    before = next(cell for cell in reversed(cells[:number]) if cell["cell_type"] == "markdown")
    return _plain("\n".join(line for line in "".join(before["source"]).splitlines() if not line.startswith("#")))


def table_of_contents(language: str, root: Path = ROOT) -> str:
    """Return the toctree of an edition's start page; the theme shows it as the sidebar of every page."""
    lines = []
    for caption, is_notebook in zip(CAPTIONS[language], (True, False), strict=True):
        documents = [
            page.document
            for page in pages(root)
            if page.language == language and page.document != "index" and (page.suffix == ".ipynb") == is_notebook
        ]
        if documents:
            lines += ["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *documents, "```", ""]
    return "\n".join(lines)
