"""A headless Chromium for the tests of the page: the machine's own, without a network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next((path for name in NAMES if (path := shutil.which(name))), None)


def need_browser() -> str:
    """Return the path of a browser; without one the test is skipped, and fails where `CI` is set."""
    if FOUND is None:
        message = "no Chromium: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return FOUND


class Page:
    """An open page: Playwright's, and every message of its console."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.messages: list[str] = []
        page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        page.on(
            "dialog", lambda dialog: (self.messages.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )

    def open(self, path: Path, *, hash_: str = "") -> Any:
        self.page.goto(f"file://{path.resolve()}{hash_}")
        self.page.wait_for_selector("html[data-open]", timeout=60_000)
        return self.page

    def cards(self) -> list[str]:
        """Return the prompts of the cards, in the order of the list."""
        self.page.wait_for_timeout(100)
        found = self.page.eval_on_selector_all(
            ".card",
            "cards => cards.map(c => [Number(c.getAttribute('aria-posinset')), c.querySelector('h3').innerText])",
        )
        return [text for _, text in sorted(found)]

    def count(self) -> str:
        text: str = self.page.inner_text("#count")
        return text


@contextmanager
def chromium(*, width: int = 1280, height: int = 900, downloads: bool = True) -> Iterator[Page]:
    """Open a browser without a network; close it in the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=need_browser(), args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True, accept_downloads=downloads
        )
        context.set_default_timeout(60_000)
        yield Page(context.new_page())
        browser.close()
