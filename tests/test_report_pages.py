"""The pages of a report in a real browser: cells, methods and samples, and the way there."""

from collections.abc import Iterator

import pytest
from browsing import chromium, fetched, find, follow, show, texts
from reports import ATTACK, ODD_NAME, Made
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from stage_commands import LONG
from synthetic_artifacts import CHECKOUT

from pipeline.runtime.inert import inert

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with chromium() as browser:
        yield browser


def test_from_a_number_to_the_command_that_makes_it_in_two_clicks(
    chrome: Chrome, made: Made
) -> None:
    show(chrome, made)
    row = find(chrome, "#table-main tbody.rows tr:nth-child(2)")
    number = row.find_element(By.CSS_SELECTOR, "td:nth-child(3)")
    mean = number.text.split(" ")[0]
    follow(chrome, number)
    view = find(chrome, "#view")
    assert view.find_element(By.TAG_NAME, "h2").text.startswith("forward_kl")
    assert not find(chrome, "#overview").is_displayed()
    assert mean in view.find_element(By.CSS_SELECTOR, "table.numbers tbody tr").text
    student = "results/students/large.forward_kl.small.s1-0a1b2c3d"
    assert f"distilbench stage {student} --configfile" in view.text
    assert "training.learning_rate" in view.text

    follow(chrome, view.find_element(By.LINK_TEXT, "seed 1"))
    evaluation = "evals/large.forward_kl.small.s1.eval-0a1b2c3d"
    assert view.find_element(By.TAG_NAME, "h2").text == evaluation
    assert f"distilbench stage results/{evaluation} --configfile" in view.text
    assert "torch" in view.text
    assert "node7" in view.text
    address = view.find_element(By.LINK_TEXT, "pipeline/stages/evaluate.py").get_attribute("href")
    assert address == f"{CHECKOUT['remote']}/blob/{CHECKOUT['commit']}/pipeline/stages/evaluate.py"
    follow(chrome, view.find_element(By.LINK_TEXT, student.removeprefix("results/")))
    assert f"distilbench stage {student} --configfile" in view.text
    assert chrome.get_log("browser") == []


def test_going_back_shows_the_overview_where_it_was_left(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    link = find(chrome, "#table-main tbody.rows th a")
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
    before = chrome.execute_script("return window.scrollY")
    follow(chrome, link)
    assert find(chrome, "#view").is_displayed()
    title = chrome.title
    chrome.back()
    WebDriverWait(chrome, LONG).until(lambda browser: browser.title != title)
    assert find(chrome, "#overview").is_displayed()
    assert not find(chrome, "#view").is_displayed()
    assert chrome.execute_script("return window.scrollY") == pytest.approx(before, abs=2)


def test_a_method_has_a_page_that_leads_to_its_cells(chrome: Chrome, made: Made) -> None:
    show(chrome, made)
    follow(chrome, find(chrome, "#methods tbody tr:nth-child(3) a"))
    view = find(chrome, "#view")
    assert view.find_element(By.TAG_NAME, "h2").text == "jsd"
    assert "Hinton et al. 2015" in view.text
    follow(chrome, view.find_element(By.PARTIAL_LINK_TEXT, "Teacher middle"))
    assert "teacher middle" in view.find_element(By.TAG_NAME, "h2").text
    assert view.find_element(By.CSS_SELECTOR, ".curves svg").size["height"] > 100


def test_an_address_opens_the_page_of_a_cell(chrome: Chrome, made: Made) -> None:
    show(chrome, made, "#cell/method/large/small/jsd")
    assert find(chrome, "#view h2").text.startswith("jsd")
    assert chrome.title.startswith("jsd")


def test_samples_are_walked_through_by_item_models_and_decoding_seed(
    chrome: Chrome, made: Made
) -> None:
    show(chrome, made)
    samples = made.data("samples-data")
    speakers = [sample["label"] for sample in samples["models"] if sample["pair"] == 0]
    assert texts(chrome, "#sample .answer h4") == ["Reference", *speakers]
    first = samples["tasks"][0]["items"][0]
    assert texts(chrome, "#sample .answer pre")[1] == samples["texts"][first["responses"][0][0]]
    seed, score = samples["tasks"][0]["seeds"][0], first["scores"][0][0][0]
    assert texts(chrome, "#sample .answer .note")[0] == f"seed {seed}; ROUGE-L {score}"

    assert not find(chrome, "[name=previous]").is_enabled()
    find(chrome, "[name=next]").click()
    second = samples["tasks"][0]["items"][1]
    assert find(chrome, "#sample h3").text == second["id"]
    assert find(chrome, "#sample-controls output").text == "2 of 12"
    find(chrome, "[name=previous]").click()
    Select(find(chrome, "[name=example]")).select_by_visible_text(second["id"])
    Select(find(chrome, "[name=pair]")).select_by_index(1)
    shown = [index for index, model in enumerate(samples["models"]) if model["pair"] == 1]
    expected = [samples["texts"][second["responses"][place][0]] for place in shown]
    assert texts(chrome, "#sample .answer pre")[1:] == expected
    Select(find(chrome, "[name=seed]")).select_by_visible_text("all")
    assert len(texts(chrome, "#sample .answer pre")) == 1 + 2 * len(expected)


def test_markup_that_a_model_wrote_does_nothing(chrome: Chrome, one_seed: Made) -> None:
    show(chrome, one_seed)
    assert inert(ATTACK) in texts(chrome, "#sample .answer pre")
    assert chrome.find_elements(By.CSS_SELECTOR, "#sample script, #sample img") == []
    assert chrome.find_elements(By.CSS_SELECTOR, "[onload], [onerror], [href^=javascript]") == []
    assert chrome.title == "demo · DistilBench"
    follow(chrome, find(chrome, "#table-main tbody.rows tr:nth-child(3) th a"))
    assert find(chrome, "#view h2").text.startswith(ODD_NAME)
    assert chrome.find_elements(By.CSS_SELECTOR, "#view b") == []
    assert chrome.get_log("browser") == []
    assert not any("taken" in url for url in fetched(chrome) if not url.startswith("data:"))
