"""The built site as a reader sees it: wide and narrow, in the dark, without Hangul fonts, at a wrong address."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import pytest

from site_source.pages import pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

WIDTHS = (1280, 390)
PIECE_HEIGHT = 2000
ADDRESSES = [*(page.address for page in pages()), "search.html", "ko/search.html"]
LESSON = "notebooks/01_labelling.html"
# What reaches beyond the window though nothing around it scrolls. The theme cuts it off: the page itself is no wider.
TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = element => ['auto', 'scroll'].includes(getComputedStyle(element).overflowX);
  const inScroller = element =>
    element.tagName !== 'ARTICLE' && (scrolls(element) || inScroller(element.parentElement));
  return [...document.querySelectorAll('article *')]
    .filter(element => element.checkVisibility() && element.getBoundingClientRect().right > width + 1)
    .filter(element => !inScroller(element.parentElement))
    .map(element => `${element.tagName} ${element.className || element.id} is wider than the page`)
    .concat(document.documentElement.scrollWidth > width ? ['the page scrolls sideways'] : []);
}"""
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"
ONLY_LATIN_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


def open_page(browser: "Browser", address: str, *, width: int = WIDTHS[0], **context: str) -> tuple["Page", list[str]]:
    """Open a page and return it with what went wrong on the way: console errors, failed and outside requests."""
    host, faults = "/".join(address.split("/")[:3]), []
    page = browser.new_page(viewport={"width": width, "height": 900}, **context)
    page.on("console", lambda message: faults.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    page.on("request", lambda request: None if in_site(request.url, host) else faults.append(f"asks {request.url}"))
    page.on("response", lambda answer: faults.append(f"{answer.status}: {answer.url}") if answer.status > 399 else None)
    page.goto(address, wait_until="networkidle")
    return page, faults


def in_site(url: str, host: str) -> bool:
    return url.startswith((f"{host}/", "data:", "blob:"))


def save_pieces(page: "Page", folder: Path, name: str) -> None:
    """Save the whole page, a piece of readable height a picture."""
    height, width = page.evaluate("() => document.documentElement.scrollHeight"), page.viewport_size["width"]
    page.set_viewport_size({"width": width, "height": PIECE_HEIGHT})
    for number, top in enumerate(range(0, height, PIECE_HEIGHT), 1):
        page.evaluate("top => window.scrollTo({top, behavior: 'instant'})", top)
        page.screenshot(path=folder / f"{name}-{number:02}.png")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_page_asks_no_other_host_reports_no_error_and_fits_its_window(
    address, width, site, browser, screenshots, unreadable
):
    page, faults = open_page(browser, site + address, width=width)
    faults += page.evaluate(TOO_WIDE) + unreadable(page, ["body", "code"])
    save_pieces(page, screenshots, f"site-{width}-{address.removesuffix('.html').replace('/', '-')}")
    page.close()
    assert faults == []


def test_a_paragraph_wider_than_a_phone_is_seen(site, browser):
    page, _ = open_page(browser, site + LESSON, width=390)
    page.evaluate("document.querySelector('article p').style.width = '900px'")
    assert "P  is wider than the page" in page.evaluate(TOO_WIDE)
    page.close()


def test_a_page_is_dark_where_the_reader_wants_it_dark(site, browser, screenshots):
    page, faults = open_page(browser, site + LESSON, color_scheme="dark")
    save_pieces(page, screenshots, "site-dark-01_labelling")
    red, green, blue = (int(part) for part in page.evaluate(BACKGROUND).strip("rgb()").split(","))
    page.close()
    assert faults == []
    assert max(red, green, blue) < 64


def test_hangul_is_readable_on_a_computer_without_a_hangul_font(site, launch, screenshots, unreadable, tmp_path):
    settings = tmp_path / "fonts.conf"
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    settings.write_text(ONLY_LATIN_FONTS.format(fonts=fonts, cache=tmp_path / "cache"))
    browser = launch(FONTCONFIG_FILE=str(settings))
    page, faults = open_page(browser, f"{site}ko/index.html")
    faults += unreadable(page, ["body", "code"])
    save_pieces(page, screenshots, "site-no-hangul-font")
    browser.close()
    assert faults == []


@pytest.mark.parametrize("address", ["missing.html", "ko/notebooks/deeper/missing.html"])
def test_a_wrong_address_leads_back_to_both_editions(address, site, browser, screenshots):
    page, faults = open_page(browser, site + address)
    save_pieces(page, screenshots, f"site-404-{address.count('/')}")
    # The address itself is answered with 404, and nothing else.
    assert [fault for fault in faults if not fault.startswith("console")] == [f"404: {site}{address}"]
    for target in ("index.html", "ko/index.html"):
        page.goto(site + address)
        page.locator(f"article a[href$='/{target}']").first.click()
        page.wait_for_url(site + target)
        assert page.locator("h1").is_visible()
    page.close()
