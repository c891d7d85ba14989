"""Sphinx configuration of the reading pages; `python -m site_source.build` runs it once for each language."""

import os
import sys
from datetime import date
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from site_source import pages as site_pages  # noqa: E402

language = os.environ.get("SITE_LANGUAGE", "en")
project = {"en": "KcBERT on controversial comments", "ko": "KcBERT로 논쟁 댓글 가려내기"}[language]
html_title = project
copyright = f"{date.today().year}, MIT licence"
account = site_pages.repository_and_revision()[0].partition("/")[0]
author = account

extensions = [
    "myst_nb",
    "sphinx_copybutton",
    "sphinxext.opengraph",
    "sphinx_sitemap",
    "sphinx.ext.githubpages",
]
# GitHub Pages answers every unknown address with the 404.html at the top, whatever the language.
if language == "en":
    extensions.append("notfound.extension")
    notfound_urls_prefix = urlsplit(site_pages.base_address()).path
    notfound_context = site_pages.not_found()
root_doc = "index"
nitpicky = True
# The committed outputs are what a reader sees; nothing runs here.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
# Formulas become MathML while building: no script, no font, no request.
html_math_renderer = "mathml"

html_theme = "furo"
# Furo's own dark style underlines module names, which then look like links.
pygments_dark_style = "github-dark"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_favicon = str(HERE / "static" / "icon.svg")
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_domain_indices = False
html_baseurl = site_pages.base_address() + site_pages.FOLDERS[language]
html_last_updated_fmt = None
copybutton_exclude = ".linenos, .gp, .go"

ogp_site_url = html_baseurl
ogp_site_name = project
ogp_image = f"{html_baseurl}_images/preview.png"
ogp_image_alt = {
    "en": "AUROC of ten models on held-out films, with 95 % intervals",
    "ko": "떼어 놓은 영화에서 잰 모델 열 개의 AUROC와 95% 구간",
}[language]
ogp_social_cards = {"enable": False}
ogp_custom_meta_tags = [
    f'<meta property="og:locale" content="{ {"en": "en_US", "ko": "ko_KR"}[language] }" />',
    '<meta name="twitter:card" content="summary_large_image" />',
]

# Two editions in two folders: the address has no language or version part of Sphinx's own.
sitemap_url_scheme = "{link}"
sitemap_excludes = ["search.html", "genindex.html", "404.html"]


def setup(app):
    """Add the MathML renderer and what each page's head and top need."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    # Before sphinxext-opengraph, which makes a description of its own where it finds none.
    app.connect("html-page-context", add_page_links, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def inline_formula(translator, node):
    """Write `$...$` as MathML."""
    _write_formula(translator, node, as_block=False)


def displayed_formula(translator, node):
    """Write `$$...$$` as MathML."""
    translator.body.append('<div class="formula">')
    _write_formula(translator, node, as_block=True)
    translator.body.append("</div>")


def _write_formula(translator, node, *, as_block):
    from docutils import nodes
    from docutils.utils.math.latex2mathml import tex2mathml

    translator.body.append(tex2mathml(node.astext().strip(), as_block=as_block))
    raise nodes.SkipNode


def add_page_links(app, pagename, templatename, context, doctree):
    """Describe a page, and link it to its source on GitHub and to the same page in the other language."""
    page = next((p for p in site_pages.pages() if (p.document, p.language) == (pagename, language)), None)
    if page is None:
        context["theme_source_view_link"] = ""
        return
    context["theme_source_view_link"] = site_pages.source_address(page.source)
    about = app.env.metadata[pagename]["og:description"]
    context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{escape(about)}" />'
    other = site_pages.counterpart(page)
    for alternate in [page, other] if other else []:
        address = site_pages.base_address() + alternate.address
        link = f'<link rel="alternate" hreflang="{alternate.language}" href="{address}" />'
        context["metatags"] += link
