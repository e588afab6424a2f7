"""Saves a figure's page: as it is, or as a picture taken by Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"]
WIDTH = 1000


def save(page: str, file: Path) -> None:
    """Write a self-contained HTML page to a file, or a picture of it if the file's name ends in .png."""
    if file.suffix == ".png":
        photograph(page, file)
    else:
        file.write_text(page, encoding="utf-8")


def photograph(page: str, file: Path) -> None:
    """Take a picture of a page once its figure is drawn; two pixels for each of the page's."""
    executable = next((found for name in CHROMIUMS if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        tab = browser.new_page(viewport={"width": WIDTH, "height": 600}, device_scale_factor=2)
        tab.set_content(page)
        tab.locator(".plotly-graph-div .main-svg").first.wait_for()
        tab.screenshot(path=file, full_page=True)
        browser.close()
