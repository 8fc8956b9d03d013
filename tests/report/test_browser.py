"""The page in a real browser; skipped where Chromium, its driver or Selenium is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ast_ray.report.page import render
from ast_ray.report.records import read_run

pytest.importorskip("selenium")

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed")


@pytest.fixture(scope="module")
def browser(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    assert BROWSER is not None
    options = ChromeOptions()
    options.binary_location = BROWSER
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    page = tmp_path_factory.mktemp("page") / "report.html"
    page.write_text(render([read_run(run)]), encoding="utf-8")
    driver = Chrome(options=options, service=Service(DRIVER, log_output=os.devnull))
    try:
        view(driver, 1280)
        driver.get(page.as_uri())
        yield driver
    finally:
        driver.quit()


def view(driver: Chrome, width: int, **features: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})


def measured(driver: Chrome, script: str) -> Any:
    return driver.execute_script(f"return {script}")


def test_it_loads_without_errors_and_requests_nothing(browser: Chrome) -> None:
    browser.refresh()
    assert browser.get_log("browser") == []
    asked = measured(browser, "performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in asked if not name.startswith("data:")] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_images_are_visible_and_nothing_sticks_out(browser: Chrome, width: int) -> None:
    view(browser, width)
    sizes = measured(browser, "[...document.images].map(i => [i.naturalWidth, i.getBoundingClientRect().width])")
    assert len(sizes) == 40
    assert all(natural == 16 and shown >= 60 for natural, shown in sizes)
    assert measured(browser, "document.documentElement.scrollWidth") <= width


def test_the_slider_moves_the_images(browser: Chrome) -> None:
    view(browser, 1280)
    slider = browser.find_element(By.CSS_SELECTOR, "input[type=range]")
    image = browser.find_element(By.CSS_SELECTOR, "img.now")
    seen = []
    slider.send_keys(Keys.HOME)
    for _ in range(7):
        output = browser.find_element(By.CSS_SELECTOR, "output").text
        seen.append((output, image.get_attribute("src"), image.get_attribute("alt")))
        assert slider.get_attribute("aria-valuetext") == output
        slider.send_keys(Keys.ARROW_RIGHT)
    assert seen[0][0].startswith("start")
    assert "iteration 6" in seen[-1][0]
    assert len({source for _, source, _ in seen}) == 7
    assert all(alt is not None and alt.endswith(output) for output, _, alt in seen)
    before = browser.find_element(By.CSS_SELECTOR, ".pair img")
    assert before.get_attribute("src") == seen[0][1]


def test_dark_is_followed_and_can_be_switched(browser: Chrome) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    view(browser, 1280, prefers_color_scheme="light")
    light = measured(browser, background)
    view(browser, 1280, prefers_color_scheme="dark")
    dark = measured(browser, background)
    assert dark != light
    browser.find_element(By.ID, "theme").click()
    assert measured(browser, background) == light
    browser.refresh()
    assert measured(browser, background) == dark


_CONTRAST = """(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
  };
  const texts = [...document.querySelectorAll(
    "p, h1, h2, h3, td, th, li, code, small, figcaption, summary, button, output, label, text")];
  const marks = [...document.querySelectorAll(".mark:not(.faint)")];
  const ratio = (front, back) => {
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  };
  const front = element => parse(getComputedStyle(element)[element instanceof SVGElement ? "fill" : "color"]);
  const worst = list => Math.min(...list.map(element => ratio(front(element), behind(element))));
  return [worst(texts), worst(marks)];
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_texts_and_marks(browser: Chrome, scheme: str) -> None:
    """WCAG 2 AA: 4.5 for texts, 3 for what a chart is read by."""
    view(browser, 1280, prefers_color_scheme=scheme)
    texts, marks = measured(browser, _CONTRAST)
    assert texts >= 4.5
    assert marks >= 3


def test_paper_gets_everything(browser: Chrome) -> None:
    view(browser, 1280)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert measured(browser, "[...document.querySelectorAll('details')].every(e => e.open)")
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert not measured(browser, "[...document.querySelectorAll('details')].some(e => e.open)")
