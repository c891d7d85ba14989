"""What the setup cell runs in Colab after cloning: install what Colab lacks and leave alone what it is built around.

Standard library alone, for nothing is installed yet. `python -m utils.colab`, from the clone.
"""

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

from utils.files import ROOT

# Moved under a running kernel, or away from what Colab's TensorFlow was built for, each of them asks for a restart.
KEPT = ("numpy", "pandas", "tensorflow", "tensorflow-text", "protobuf")
INSTALLED = ROOT / ".installed"


def kept_versions(version: Callable[[str], str] = metadata.version) -> list[str]:
    """Return `name==version` of those packages in `KEPT` that are installed."""
    kept = []
    for name in KEPT:
        try:
            kept.append(f"{name}=={version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return kept


def install_command(kept: list[str]) -> list[str]:
    """Return the pip command that installs requirements-colab.txt and holds the packages `kept` where they are."""
    requirements = str(ROOT / "requirements-colab.txt")
    return [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements, *kept]


def main() -> int:
    """Install, mark the clone as installed, and return pip's exit status.

    Where a later Colab cannot be served without moving a package of `KEPT`, pip fails and names the two that quarrel.
    """
    status = subprocess.run(install_command(kept_versions())).returncode
    if status == 0:
        INSTALLED.touch()
    return status


if __name__ == "__main__":
    sys.exit(main())
