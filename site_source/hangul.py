"""A Hangul font of the site's own, cut to the characters its pages use, for computers that have none."""

from pathlib import Path

FONT = "hangul.woff2"


def write_hangul_font(site: Path) -> None:
    """Write Noto Sans KR (SIL Open Font License) with only the Hangul of the pages into each `_static` folder."""
    from fontTools import subset
    from pylopdf_fonts_ko import sans_path

    text = {character for page in site.rglob("*.html") for character in page.read_text(encoding="utf-8")}
    hangul = sorted(character for character in text if is_hangul(character))
    options = subset.Options(flavor="woff2", layout_features=["kern"], notdef_outline=True, name_IDs=["*"])
    for folder in sorted(site.rglob("_static")):
        font = subset.load_font(str(sans_path()), options)
        subsetter = subset.Subsetter(options)
        subsetter.populate(text="".join(hangul))
        subsetter.subset(font)
        subset.save_font(font, str(folder / FONT), options)


def is_hangul(character: str) -> bool:
    """Return whether a character is a Hangul syllable or letter, as in the `unicode-range` of site.css."""
    return any(
        first <= ord(character) <= last for first, last in ((0x1100, 0x11FF), (0x3131, 0x318E), (0xAC00, 0xD7A3))
    )
