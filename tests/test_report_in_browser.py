"""The report's page in a real browser, headless, without a network."""

import re
from collections.abc import Iterator

import pytest
from browsing import UNFOLD, chromium, fetched, find, printed_pages, seen, show
from reports import SMALL, Made
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with chromium() as browser:
        yield browser


def test_the_page_loads_without_an_error_and_fetches_nothing(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    assert find(chrome, "h1").text == "demo"
    images = seen(chrome, ".plot img")
    assert images
    drawn = "return [...document.images].every((one) => one.complete && one.naturalWidth > 0)"
    assert chrome.execute_script(drawn)
    assert chrome.get_log("browser") == []
    page = (made.folder / "index.html").as_uri()
    assert [url for url in fetched(chrome) if not url.startswith("data:")] == [page]


def test_scores_are_drawn_against_costs_by_choice(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    figure = find(chrome, "#plot-quality_by_cost")
    assert len(figure.find_elements(By.CSS_SELECTOR, "svg.chart")) == 2  # pairs
    points = figure.find_elements(By.CSS_SELECTOR, "svg.chart g")
    assert len(points) == 2 * len(SMALL.methods)
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", points[0])
    ActionChains(chrome).move_to_element(points[0]).perform()
    tip = figure.find_element(By.CSS_SELECTOR, ".tip")
    first = tip.text
    assert re.match(r"sft: NLL ↓ [\d.]+ \([\d.]+ to [\d.]+\), .*FLOPs in full$", first)

    choices = [Select(element) for element in figure.find_elements(By.TAG_NAME, "select")]
    choices[0].select_by_index(1)
    choices[1].select_by_visible_text("seconds")
    choices[2].select_by_visible_text("own")
    titles = [title.text for title in figure.find_elements(By.CSS_SELECTOR, "svg.chart > text")]
    assert "seconds, own" in titles
    shown = figure.find_element(By.CSS_SELECTOR, "p.note").text
    assert shown == "Shown: KL to teacher ↓ (heldout, nats/token) against seconds, own."
    point = figure.find_element(By.CSS_SELECTOR, "svg.chart g")
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(chrome).move_to_element(point).perform()
    assert re.match(r"sft: KL to teacher .* seconds own$", tip.text)


def test_a_method_is_hidden_and_shown_again_by_its_name(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    figure = find(chrome, "#plot-quality_by_cost")
    shown = len(figure.find_elements(By.CSS_SELECTOR, "svg.chart g"))
    button = figure.find_element(By.XPATH, ".//button[normalize-space()='jsd']")
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    for pressed, points in (("false", shown - 2), ("true", shown)):
        button.click()
        assert button.get_attribute("aria-pressed") == pressed
        assert len(figure.find_elements(By.CSS_SELECTOR, "svg.chart g")) == points


def test_a_heading_sorts_each_group_by_its_column_and_again_the_other_way(
    chrome: Chrome, made: Made
) -> None:
    show(chrome, made)
    heading = find(chrome, "#table-main thead th:nth-child(3)")
    for direction in ("ascending", "descending"):
        heading.find_element(By.TAG_NAME, "button").click()
        assert heading.get_attribute("aria-sort") == direction
        for group in chrome.find_elements(By.CSS_SELECTOR, "#table-main tbody.rows"):
            cells = group.find_elements(By.CSS_SELECTOR, "td:nth-child(3)")
            values = [float(cell.get_attribute("data-value")) for cell in cells]
            assert len(values) == 3
            assert values == sorted(values, reverse=direction == "descending")


def test_headings_sort_by_the_keyboard(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    heading = find(chrome, "#table-main thead th:nth-child(3)")
    heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"


@pytest.fixture
def long(chrome: Chrome, made: Made) -> WebElement:
    """The table of all differences, which is long enough to be filtered."""
    show(chrome, made)
    return find(chrome, "#table-differences")


def shown_rows(table: WebElement) -> list[WebElement]:
    rows = table.find_elements(By.CSS_SELECTOR, "tbody.rows tr")
    return [row for row in rows if row.is_displayed()]


def test_text_filters_rows_and_what_is_left_is_counted(long: WebElement) -> None:
    everything = len(shown_rows(long))
    search = long.find_element(By.CSS_SELECTOR, "input[type=search]")
    search.send_keys("jsd Middle")
    rows = shown_rows(long)
    assert 0 < len(rows) < everything
    assert all("jsd" in row.text for row in rows)
    counted = long.find_element(By.TAG_NAME, "output").text
    assert counted.startswith(f"{len(rows)} of {everything} rows")
    search.send_keys(" nothing-like-this")
    assert shown_rows(long) == []


def test_teacher_and_measure_are_chosen_from_lists_and_cleared(long: WebElement) -> None:
    everything = len(shown_rows(long))
    lists = {
        label.text.split("\n")[0].split(" ")[0]: Select(label.find_element(By.TAG_NAME, "select"))
        for label in long.find_elements(By.CSS_SELECTOR, ".controls > label:has(select)")
    }
    assert {"Teacher", "Measure"} <= set(lists)
    lists["Teacher"].select_by_visible_text("large")
    of_teacher = len(shown_rows(long))
    assert of_teacher == everything // 2
    lists["Measure"].select_by_index(1)
    assert 0 < len(shown_rows(long)) < of_teacher
    long.find_element(By.XPATH, ".//button[text()='Clear']").click()
    assert len(shown_rows(long)) == everything


def test_no_text_of_a_copied_table_is_a_formula_and_its_numbers_are_numbers(
    chrome: Chrome, long: WebElement
) -> None:
    cells = long.find_elements(By.CSS_SELECTOR, "tbody.rows tr:first-child td")
    for cell, text in zip(cells, ("=1+1", "-0.5", "+a", "-1 ± 2"), strict=False):
        chrome.execute_script("arguments[0].textContent = arguments[1]", cell, text)
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    chrome.execute_cdp_cmd("Browser.grantPermissions", {"permissions": permissions})
    long.find_element(By.XPATH, ".//button[text()='Copy CSV']").click()
    copied = chrome.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    for text in ("'=1+1", "-0.5", "'+a", "'-1 ± 2"):
        assert f'"{text}"' in copied


def test_columns_are_hidden_and_shown(long: WebElement) -> None:
    long.find_element(By.CSS_SELECTOR, ".columns button:nth-of-type(2)").click()
    headings = long.find_elements(By.CSS_SELECTOR, "thead th")
    assert [heading.is_displayed() for heading in headings] == [True] + [False] * (
        len(headings) - 1
    )
    long.find_element(By.CSS_SELECTOR, ".columns input").click()
    assert [heading.is_displayed() for heading in headings[:3]] == [True, True, False]


@pytest.mark.parametrize(
    "place",
    [
        "",
        "#cell/method/large/small/jsd",
        "#method/jsd",
        "#job/students/large.jsd.small.s1-0a1b2c3d",
    ],
)
def test_nothing_is_wider_than_a_phone(chrome: Chrome, made: Made, place: str) -> None:
    show(chrome, made, place, width=390)
    assert chrome.execute_script("return document.documentElement.clientWidth") == 390
    chrome.execute_script(UNFOLD)
    assert chrome.execute_script(OVERFLOW) == 0
    if not place:
        scroll = find(chrome, "#plot-overview .scroll")
        assert scroll.get_property("scrollWidth") <= scroll.get_property("clientWidth")


def test_on_a_phone_names_stay_while_numbers_scroll_and_arrows_end_no_line(
    chrome: Chrome, made: Made
) -> None:
    show(chrome, made, width=390)
    table = find(chrome, "#table-primary .scroll")
    name, number = (table.find_element(By.CSS_SELECTOR, f"tbody {cell}") for cell in ("th", "td"))
    before = [cell.location["x"] for cell in (name, number)]
    chrome.execute_script("arguments[0].scrollLeft = 100", table)
    assert [cell.location["x"] for cell in (name, number)] == [before[0], before[1] - 100]
    pair = table.find_element(By.CSS_SELECTOR, "thead tr:nth-child(2) th")
    assert pair.location["x"] + pair.size["width"] == number.location["x"] + number.size["width"]
    assert "→\u00a0" not in made.page
    assert re.search(r"<th[^>]*>large\u00a0→ small</th>", made.page)


def test_no_table_is_wider_than_its_sheet_of_paper(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    wide = []
    try:
        # A4 without its margins, in pixels of 1/96 inch
        for sheet, tables in ((718, ".table:not(.wide)"), (1046, ".table.wide")):
            size = {"width": sheet, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            wide.append(seen(chrome, f"#overview {tables} table"))
            assert all(table.size["width"] <= sheet for table in wide[-1])
    finally:
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert all(wide)


def test_without_scripts_tables_cells_and_methods_are_there_to_read(
    chrome: Chrome, made: Made
) -> None:
    chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(chrome, made)
        text = (made.folder / "tables/main.md").read_text()
        lines = [line for line in text.splitlines()[1:] if line.startswith("|")]
        rows = seen(chrome, "#table-main tbody tr:not(.group)")
        assert len(rows) == len(lines) - 1
        assert seen(chrome, "#table-main .controls") == []
        assert len(seen(chrome, "section.page")) > len(lines) - 3
        find(chrome, "#table-main tbody.rows th a").click()
        assert find(chrome, ".page:target h2").text.startswith("sft")
    finally:
        chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_every_control_has_a_name_and_every_region_can_be_reached(
    chrome: Chrome, made: Made
) -> None:
    show(chrome, made)
    unnamed = (
        "return [...document.querySelectorAll('input, select, button')].filter((one) =>"
        " !(one.textContent.trim() || one.labels?.length || one.ariaLabel)).length"
    )
    assert chrome.execute_script(unnamed) == 0
    assert chrome.find_elements(By.CSS_SELECTOR, ".scroll:not([tabindex='0'])") == []
    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert len(chrome.find_elements(By.CSS_SELECTOR, f"body > {landmark}")) == 1
    assert chrome.find_elements(By.CSS_SELECTOR, "img:not([alt])") == []


def test_a_page_on_paper_has_no_controls(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert seen(chrome, "nav, .controls, .files") == []
        assert seen(chrome, "#table-main")
        figure, page = find(chrome, "#summary .plot img"), find(chrome, "main")
        assert figure.size["width"] > page.size["width"] / 2
    finally:
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_no_heading_stands_alone_at_the_foot_of_a_printed_page(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    chrome.execute_script(
        "const link = (text) => Object.assign(document.createElement('a'),"
        " {href: `https://${text}.invalid`, textContent: '.'});"
        "document.querySelectorAll('#overview summary').forEach((summary, place) => {"
        " const next = summary.nextElementSibling;"
        " summary.append(link(`heading-${place}`));"
        " (next.querySelector('figcaption') ?? next).prepend(link(`text-${place}`)); })"
    )
    pages = printed_pages(chrome)
    headings = [address for address in pages if address.startswith("heading")]
    assert len(headings) > 10
    for heading in headings:
        assert pages[heading] == pages[heading.replace("heading", "text")]
