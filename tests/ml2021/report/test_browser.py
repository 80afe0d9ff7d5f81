"""The page in a browser: clicks and keys select and play windows, no text from data is executed, no error is logged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ml2021.report.conftest import NASTY, NUM_WINDOWS, WINDOW, Run

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (it is in the test extras)")
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio")
OPTIONS += ("--force-prefers-reduced-motion",)  # no smooth scrolling, which would move the targets of clicks


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; skips the tests if there is none."""
    binary = next((path for path in map(shutil.which, BROWSERS) if path), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with chromedriver on PATH (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for option in (*OPTIONS, "--window-size=1200,900"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except WebDriverException as e:
        pytest.skip(f"Chromium does not start here: {e.msg}")
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page_file(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, with clips of the test lecture but not of all other windows."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(finished_run.page(audio_megabytes=0.1), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    """The page, freshly loaded; checks afterwards that its console is empty."""
    browser.get_log("browser")
    browser.get("about:blank")
    browser.get(page_file.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def overview(page: Any, lecture: int = 0) -> Any:
    return page.find_elements(By.CSS_SELECTOR, ".lecture")[lecture].find_element(By.CSS_SELECTOR, ".overview")


def click_window(page: Any, index: int) -> None:
    """Click the middle of a window on the timeline of the open lecture."""
    element = overview(page)
    width = element.rect["width"]
    ActionChains(page).move_to_element_with_offset(
        element, round(width * (index + 0.5) / NUM_WINDOWS - width / 2), 0
    ).click().perform()


def chosen(page: Any) -> str:
    return page.find_element(By.CSS_SELECTOR, ".facts b").text


def wait(page: Any, script: str) -> Any:
    return WebDriverWait(page, 10).until(lambda p: p.execute_script(f"return {script}"))


def test_click_plays_a_window(page: Any) -> None:
    click_window(page, 7)
    assert chosen(page) == "lecture08-0007"
    wait(page, "document.querySelector('audio').duration > 0")
    assert page.execute_script("return document.querySelector('audio').duration") == pytest.approx(WINDOW, abs=0.2)
    wait(page, "document.querySelector('audio').currentTime > 0.3")  # it plays
    assert page.find_elements(By.CSS_SELECTOR, ".zoom .now")  # and the current word is marked


def test_errors_are_marked_and_data_is_inserted_as_text(page: Any) -> None:
    click_window(page, 3)
    ruby = page.find_element(By.CSS_SELECTOR, "ruby.sub")
    assert ruby.text.split() == ["有", "用"] or ruby.text.replace("\n", "") in ("有用", "用有")
    click_window(page, 5)
    assert page.find_element(By.CSS_SELECTOR, ".texts ins").text == "net"
    texts = page.find_element(By.CSS_SELECTOR, ".texts").text
    for text in (NASTY, "We use <nets> & 5.", "We took <nets> & lecture08-0005.", "Nets <b>5."):
        assert text in texts
    assert page.find_elements(By.TAG_NAME, "img") == [] and page.find_elements(By.CSS_SELECTOR, ".texts script") == []


def test_keys_select_and_play(page: Any) -> None:
    element = overview(page)
    page.execute_script("arguments[0].focus()", element)
    at = []
    for key in (Keys.HOME, Keys.ARROW_RIGHT, "e", "e", Keys.END, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.PAGE_DOWN):
        page.switch_to.active_element.send_keys(key)
        at.append(chosen(page)[-4:])
    assert at == ["0000", "0001", "0003", "0005", "0011", "0011", "0010", "0000"]
    assert element.get_attribute("aria-valuenow") == "1" and "lecture08-0000" in element.get_attribute("aria-valuetext")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    wait(page, "!document.querySelector('audio').paused")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    wait(page, "document.querySelector('audio').paused")


def test_tab_reaches_all_controls(page: Any) -> None:
    reached = []
    for _ in range(60):
        page.switch_to.active_element.send_keys(Keys.TAB)
        active = page.switch_to.active_element
        reached.append(active.get_attribute("class") or active.text or active.tag_name)
    for control in ("overview", "‹ Previous", "Next ›", "Next with errors", "zoom", "scroll", "Results"):
        assert control in reached


def test_link_in_the_error_table_opens_its_window(page: Any) -> None:
    link = page.find_element(By.CSS_SELECTOR, "#errors a[href='#w:lecture08-0005']")
    link.click()
    wait(page, "document.querySelector('.facts b').textContent === 'lecture08-0005'")


def test_window_without_audio_shows_a_command_that_plays_it(page: Any) -> None:
    page.find_elements(By.CSS_SELECTOR, ".lecture summary")[1].click()
    wait(page, "document.querySelectorAll('.lecture-body').length === 2")
    body = page.find_elements(By.CSS_SELECTOR, ".lecture-body")[1]
    buttons = body.find_elements(By.TAG_NAME, "button")
    while buttons[1].is_enabled():
        if not body.find_element(By.TAG_NAME, "audio").is_displayed():
            break
        buttons[1].click()
    command = body.find_element(By.TAG_NAME, "code")
    assert command.is_displayed() and "ffplay" in command.text and "lecture01.wav" in command.text


@pytest.mark.parametrize("width", [320, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_the_browser_window_and_is_legible(page: Any, width: int, scheme: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        ink, paper = (
            page.execute_script(f"return getComputedStyle(document.body).{name}.match(/[0-9]+/g).map(Number)")
            for name in ("color", "backgroundColor")
        )
        assert (sum(paper) > sum(ink)) == (scheme == "light")
        assert contrast(ink, paper) > 7
        soft = page.execute_script(
            "return getComputedStyle(document.querySelector('.note')).color.match(/[0-9]+/g).map(Number)"
        )
        assert contrast(soft, paper) > 4.5
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def contrast(a: list[int], b: list[int]) -> float:
    """Contrast ratio of two colours, as defined by WCAG 2."""
    lights = sorted(
        sum(
            w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), x)
        )
        for x in ([v / 255 for v in color[:3]] for color in (a, b))
    )
    return (lights[1] + 0.05) / (lights[0] + 0.05)
