"""A real browser, headless and without a network, and what it shows of a report."""

import base64
import contextlib
import json
import re
import shutil
from collections.abc import Iterator

import pytest
from reports import Made
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from stage_commands import LONG

OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
UNFOLD = "document.querySelectorAll('details').forEach((one) => (one.open = true))"


@contextlib.contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser that notes what it logs and what it fetches."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("chromium or chromedriver is not installed (chromium, chromium-driver)")
    options = ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for option in OPTIONS:
        options.add_argument(option)
    with Chrome(options=options, service=Service(driver)) as started:
        yield started


def show(
    chrome: Chrome, report: Made, place: str = "", width: int = 1280, *, unfolded: bool = True
) -> None:
    """Opens a report anew, with empty logs and all that is folded open, unless it is to stay so."""
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chrome.get("about:blank")
    for kind in ("browser", "performance"):
        chrome.get_log(kind)
    chrome.get(f"{(report.folder / 'index.html').as_uri()}{place}")
    if unfolded:
        chrome.execute_script(UNFOLD)


def find(chrome: Chrome, selector: str) -> WebElement:
    return chrome.find_element(By.CSS_SELECTOR, selector)


def seen(chrome: Chrome, selector: str) -> list[WebElement]:
    elements = chrome.find_elements(By.CSS_SELECTOR, selector)
    return [element for element in elements if element.is_displayed()]


def texts(chrome: Chrome, selector: str) -> list[str]:
    return [element.text for element in seen(chrome, selector)]


def follow(chrome: Chrome, element: WebElement) -> None:
    """Clicks, and waits until another page is shown."""
    title = chrome.title
    element.click()
    WebDriverWait(chrome, LONG).until(lambda browser: browser.title != title)


def fetched(chrome: Chrome) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [message["request"]["url"] for message in sent]


def printed_pages(chrome: Chrome) -> dict[str, bytes]:
    """The printed page, as PDF has it, that each link to another host stands on, by its address."""
    printed = chrome.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    pdf = base64.b64decode(printed["data"])
    objects = dict(re.findall(rb"(\d+) 0 obj\n(.*?)endobj", pdf, re.DOTALL))
    pages = {}
    for page in objects.values():
        if re.search(rb"/Type /Page\b", page) and (links := re.search(rb"/Annots \[(.*?)\]", page)):
            for number in re.findall(rb"(\d+) 0 R", links[1]):
                if address := re.search(rb"/URI \(https?://(.*?)\)", objects[number]):
                    pages[address[1].decode()] = page
    return pages
