"""Walk the built site and say what is wrong with it: `python -m site_source.check [folder]`. Standard library only.

Every internal link and anchor must resolve, nothing may be loaded from another host (a link that a reader clicks may
lead there), and every page must have a title, a description, preview metadata, a language and text for its images.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from site_source.pages import base_address

ROOT = Path(__file__).resolve().parents[1]
# Attributes through which a browser loads something by itself.
LOADED = {"src", "srcset", "poster", "data", "background"}
# Links that only name an address, for search engines and other programs.
NAMED = {"canonical", "alternate", "next", "prev", "search", "index", "author", "copyright", "license"}
STYLE_REQUEST = re.compile(r"@import\s+(?:url\()?\s*[\"']?([^\"')\s;]+)|url\(\s*[\"']?([^\"')]+)", re.IGNORECASE)
SCRIPT_REQUEST = re.compile(r"(?:import\s*\(?|from|fetch\(|src\s*=|importScripts\()\s*[\"'`]((?:https?:)?//[^\"'`]+)")
REQUIRED = ("title", "description", "og:title", "og:description", "og:image", "og:url")
# Shown in place of any address, so its links start at the root of the host.
NOT_FOUND = "404.html"
# Pages without a text of their own to describe.
WITHOUT_METADATA = ("search.html", NOT_FOUND)


class PageReader(HTMLParser):
    """Collects what the check needs from one page."""

    def __init__(self) -> None:
        super().__init__()
        self.language = ""
        self.properties: dict[str, str] = {}
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.without_text: list[str] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, loaded files, anchors and metadata."""
        values = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in ("title", "style", "script") else self._inside
        self.anchors.update(values[name] for name in ("id", "name") if values.get(name))
        self.loaded += [values[name] for name in LOADED & values.keys()]
        self.styles.append(values.get("style", ""))
        if tag == "html":
            self.language = values.get("lang", "")
        elif tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and "href" in values and not NAMED & set(values.get("rel", "").split()):
            self.loaded.append(values["href"])
        elif tag in ("image", "use"):
            self.loaded += [values[name] for name in ("href", "xlink:href") if name in values]
        elif tag == "meta":
            self.properties[values.get("name") or values.get("property", "")] = values.get("content", "")
        if tag == "img" and not values.get("alt", "").strip():
            self.without_text.append(values.get("src", ""))

    def handle_endtag(self, tag: str) -> None:
        """Leave a title, style or script."""
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        """Keep the text of titles, styles and scripts."""
        if self._inside == "title":
            self.properties.setdefault("title", data.strip())
        elif self._inside == "style":
            self.styles.append(data)
        elif self._inside == "script":
            self.scripts.append(data)


def faults(site: Path) -> list[str]:
    """Return one line for each fault of a built site."""
    readers = {path: read_page(path) for path in sorted(site.rglob("*.html"))}
    if not readers:
        return [f"{site} holds no page: run make site."]
    found = []
    for path, page in readers.items():
        found += [f"{path.relative_to(site)}: {fault}" for fault in _page_faults(path, page, readers, site)]
    for path in sorted(site.rglob("*.css")):
        for request in style_requests(path.read_text(encoding="utf-8")):
            found += [f"{path.relative_to(site)}: {fault}" for fault in _load_faults(request, path, site)]
    for path in sorted(site.rglob("*.js")):
        text = path.read_text(encoding="utf-8")
        found += [f"{path.relative_to(site)}: loads {m[1]}" for m in SCRIPT_REQUEST.finditer(text)]
    return found


def read_page(path: Path) -> PageReader:
    """Return what a page holds."""
    reader = PageReader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def style_requests(style: str) -> list[str]:
    """Return what CSS loads by `@import` or `url()`."""
    return [match[1] or match[2] for match in STYLE_REQUEST.finditer(style)]


def _page_faults(path: Path, page: PageReader, readers: dict[Path, PageReader], site: Path) -> list[str]:
    found = []
    language = "ko" if path.relative_to(site).parts[0] == "ko" else "en"
    if page.language != language:
        found.append(f'lang is "{page.language}", not "{language}"')
    needed = ("title",) if path.name in WITHOUT_METADATA else REQUIRED
    found += [f"has no {name}" for name in needed if not page.properties.get(name)]
    found += [f"image {source[:80]} has no alt text" for source in page.without_text]
    requests = [*page.loaded, *(url for style in page.styles for url in style_requests(style))]
    for request in requests:
        found += _load_faults(request, path, site)
    for script in page.scripts:
        found += [f"loads {match[1]}" for match in SCRIPT_REQUEST.finditer(script)]
    for link in page.links:
        found += _link_faults(link, path, readers, site)
    return found


def _target(address: str, path: Path, site: Path) -> Path | None:
    """Return the file in the site that an address on a page leads to, None for one that works from nowhere.

    Addresses are relative, except on the page for unknown addresses.
    """
    prefix = urlsplit(base_address()).path if path == site / NOT_FOUND else ""
    if not address.startswith(prefix) or (address.startswith("/") and not prefix):
        return None
    folder = site if prefix else path.parent
    return (folder / unquote(address.removeprefix(prefix))).resolve()


def _load_faults(request: str, path: Path, site: Path) -> list[str]:
    if request.startswith(("data:", "#")):
        return []
    if urlsplit(request).scheme or request.startswith("//"):
        return [f"loads {request}"]
    target = _target(urlsplit(request).path, path, site)
    found = target is not None and target.is_file() and target.is_relative_to(site.resolve())
    return [] if found else [f"loads {request}: no such file"]


def _link_faults(link: str, path: Path, readers: dict[Path, PageReader], site: Path) -> list[str]:
    parts = urlsplit(link)
    if parts.scheme or link.startswith("//"):
        return []
    target = _target(parts.path, path, site) if parts.path else path.resolve()
    page = None
    if target is not None and target.is_relative_to(site.resolve()):
        page = readers.get(site / target.relative_to(site.resolve()))
    if page is None:
        return [] if target is not None and target.is_file() else [f"link {link} leads to no page"]
    if parts.fragment and unquote(parts.fragment) not in page.anchors:
        return [f"link {link} leads to no anchor"]
    return []


if __name__ == "__main__":
    problems = faults(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site")
    if problems:
        sys.exit("\n".join(problems))
    print("Every link of the site leads somewhere, and nothing is loaded from another host.")
