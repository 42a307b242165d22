"""Headless Chromium, as the tests of the console need it: log in, look, wait for what is live."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 120
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --disable-dev-shm-usage --lang=en-US"
)


class Browser:
    """One window."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self._address = address

    def log_in(self, key: str) -> None:
        self.open("")
        self.one("#key").send_keys(key)
        self.one("button.main").click()
        self.wait("header .who")

    def size(self, width: int, height: int = 900) -> None:
        """Of the page itself: a window cannot be as narrow as a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, language: str, theme: str) -> None:
        value = {"name": "freehold_preferences", "value": f"{language}-{theme}", "path": "/console"}
        self.driver.add_cookie(value)

    def open(self, path: str) -> None:
        self.driver.get(f"{self._address}/console{path}")

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def wait(self, selector: str, text: str = "") -> Any:
        """The first element that fits and holds the text, as soon as there is one."""

        def found(driver: Any) -> Any:
            fitting = driver.find_elements(By.CSS_SELECTOR, selector)
            with contextlib.suppress(Exception):  # it was just replaced: look again
                return next((one for one in fitting if text in one.text), False)
            return False

        return WebDriverWait(self.driver, PATIENCE_S, 0.1).until(found, f"{selector} with {text!r}")

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def complaints(self) -> list[str]:
        """What the browser did not like since it was last asked: refused scripts, missing files, errors."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@contextlib.contextmanager
def open_browser(address: str, folder: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    for flag in (*_FLAGS.split(), f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service("/usr/bin/chromedriver", env={**os.environ, "NO_PROXY": "127.0.0.1"})
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver, address)
    finally:
        driver.quit()
