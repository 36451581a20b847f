"""Photograph the report for the README: `python docs/screenshots.py [PROMPT_ID]`.

It writes docs/report-pairs.png and docs/report-tree.png, each of at most 300 kB. Run it where `make repro` has run, with a
Chromium on the path.
"""

import io
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from csrdata import paths

LARGEST = 300_000
"""Bytes of a file."""


def main() -> None:
    """Write both pictures: the pairs in light, the search tree of one prompt in dark."""
    prompt = sys.argv[1] if len(sys.argv) > 1 else "train-00025"
    page = Path(paths.REPORT, "index.html").resolve()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, scheme in (("pairs", "light"), ("tree", "dark")):
            context = browser.new_context(
                viewport={"width": 1280, "height": 800}, color_scheme=scheme, offline=True
            )
            opened = context.new_page()
            opened.goto(f"file://{page}#p={prompt}")
            opened.wait_for_selector("html[data-open]", timeout=120_000)
            if name == "tree":
                opened.get_by_role("button", name="Tree").first.click()
            opened.wait_for_timeout(2000)
            _save(opened, Path("docs", f"report-{name}.png"))
        browser.close()


def _save(page: Any, path: Path) -> None:
    """Write what the page shows, with a palette of 256 colours."""
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shown.quantize(256).save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, expected at most {LARGEST}")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
