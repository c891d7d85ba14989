"""Build the reading pages: `make site` calls `python -m site_source.build`, which writes site/ and checks it.

Why with this generator: requirements-site.txt.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from site_source.check import faults
from site_source.hangul import write_hangul_font
from site_source.pages import FOLDERS, LANGUAGES, PREVIEW_IMAGE, ROOT, SiteError, stage

SITE = ROOT / "site"


def build(site: Path = SITE) -> list[str]:
    """Build both editions, put them in place of `site`, and return what the check finds wrong with them.

    Raises
    ------
    SiteError
        A link leads nowhere, or Sphinx warns: the build stops and `site` stays as it was.
    """
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        built = work / "site"
        for language in LANGUAGES:
            source, target = work / f"source-{language}", built / FOLDERS[language]
            stage(language, source)
            sphinx = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
            folders = ["-c", str(ROOT / "site_source"), "-d", str(work / f"doctrees-{language}"), source, target]
            if subprocess.run([*sphinx, *folders], env=os.environ | {"SITE_LANGUAGE": language}).returncode != 0:
                raise SiteError("Sphinx stopped; the lines above say why. Paths start at a copy of the repository.")
            (target / "_images").mkdir(exist_ok=True)
            shutil.copyfile(ROOT / PREVIEW_IMAGE, target / "_images" / "preview.png")
            # What only Sphinx and MyST-NB use (which writes beside the folder): the pages show the pictures in _images.
            for left in (target / "_sources", target.parent / "jupyter_execute"):
                shutil.rmtree(left, ignore_errors=True)
            for left in (".buildinfo", ".buildinfo.bak", "objects.inv"):
                (target / left).unlink(missing_ok=True)
        write_hangul_font(built)
        found = faults(built)
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(built, site)
    return found


if __name__ == "__main__":
    try:
        problems = build()
    except SiteError as error:
        sys.exit(str(error))
    if problems:
        sys.exit("\n".join([*problems, f"{len(problems)} faults in site/."]))
    print("The pages are in site/: open site/index.html.")
