"""Every page in a real browser: both themes, widths and languages; nothing refused, nothing too wide."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.launch import ServerProcess
from tests.console.browser import Browser
from tests.console.conftest import add_document

PAGES = {
    "": "Overview",
    "/sessions": "Sessions",
    "/agents": "Agents",
    "/agents/new": "New agent",
    "/environments": "Environments",
    "/batches": "Batches",
    "/requests": "Requests",
    "/knowledge": "Knowledge",
    "/usage": "Usage",
    "/keys": "Keys and budgets",
    "/audit": "Changes",
    "/doctor": "Doctor",
}
KNOWLEDGE = "/freehold/v1/knowledge/collections"
BATCH: Any = [
    {
        "custom_id": "one",
        "params": {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]},
    }
]


@pytest.fixture(scope="module")
def inner_pages(client: Any, session_id: str) -> dict[str, str]:
    """Pages of single things, with a word of each."""
    agent = client.beta.agents.list().data[0]
    environment = client.beta.environments.list().data[0]
    batch = client.messages.batches.create(requests=BATCH)
    client.messages.create(**BATCH[0]["params"])
    call = client.get("/freehold/v1/calls?limit=1", cast_to=object)["data"][0]["id"]
    collection = client.post(KNOWLEDGE, body={"name": "rules"}, cast_to=object)
    add_document(client, "rules", "# Tea\n\nTea is served at four.\n")
    return {
        f"/knowledge/{collection['id']}?sought=tea": "rules",
        f"/sessions/{session_id}": "A day's work",
        f"/agents/{agent.id}": "clerk <b>bold</b>",
        f"/environments/{environment.id}": "plain",
        f"/batches/{batch.id}": "Batches",
        f"/requests/{call}": "claude-haiku-5-5",
    }


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_every_page_fits_and_loads_all_it_needs(
    browser: Browser, inner_pages: dict[str, str], width: int, theme: str
) -> None:
    browser.size(width)
    browser.prefer("en", theme)
    for path, word in {**PAGES, **inner_pages}.items():
        browser.open(path)
        assert word in browser.one("h1").text, path
        assert browser.run("return document.documentElement.scrollWidth") <= width, f"{path} at {width}"
        assert browser.run("return document.documentElement.dataset.theme") == theme
        broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth && !i.loading).length"
        assert browser.run(broken) == 0, path
    assert browser.complaints() == []


def test_a_dark_page_is_dark_and_a_light_one_light(browser: Browser) -> None:
    def brightness() -> int:
        colour = browser.run("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour[4:-1].split(","))

    browser.prefer("en", "dark")
    browser.open("")
    dark = brightness()
    browser.prefer("en", "light")
    browser.open("")
    assert dark < 150 < 600 < brightness()


def test_all_of_a_page_is_in_chinese(browser: Browser) -> None:
    browser.prefer("zh", "light")
    for path, heading in (("", "概览"), ("/sessions", "会话"), ("/keys", "密钥与预算"), ("/audit", "变更记录")):
        browser.open(path)
        assert browser.one("h1").text == heading
    browser.prefer("en", "light")


def test_language_and_theme_are_changed_by_their_buttons(browser: Browser) -> None:
    browser.size(1280)
    browser.prefer("en", "light")
    browser.open("/sessions")
    browser.one('button[name="language"]').click()
    assert browser.wait("h1", "会话")
    browser.one('button[name="theme"]').click()
    browser.wait('html[data-theme="auto"]')
    browser.one('button[name="language"]').click()
    browser.wait("h1", "Sessions")


def test_a_list_is_filtered_from_the_keyboard(browser: Browser, session_id: str) -> None:
    browser.open("/sessions")
    browser.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: '/'}))")
    search = browser.one("[data-filter]")
    assert browser.run("return document.activeElement.dataset.filter") == "#list"
    search.send_keys("nothing like this")
    assert browser.run("return [...document.querySelectorAll('#list tbody tr')].every(row => row.hidden)")


def test_a_call_is_read_whole_and_made_again_on_another_model(
    browser: Browser, inner_pages: dict[str, str], client: Any
) -> None:
    path = next(path for path in inner_pages if path.startswith("/requests/"))
    browser.open(path)
    assert any("Hello" in pre.text for pre in browser.driver.find_elements("css selector", "pre"))
    field = browser.one('input[name="model"]')
    field.clear()
    field.send_keys("claude-sonnet-5-5")
    browser.one("form.line button.main").click()
    assert browser.wait("h2", "claude-sonnet-5-5")


def test_what_is_known_is_found_in_its_collection(browser: Browser, inner_pages: dict[str, str]) -> None:
    browser.open(next(path for path in inner_pages if path.startswith("/knowledge/")))
    assert "Tea is served at four." in browser.one("article .text").text
    browser.open("/knowledge")
    browser.one("[data-search]").send_keys("tea")
    browser.one("form.line button.main").click()
    assert browser.wait("article .text", "served at four")


def test_the_doctor_tells_what_the_server_knows_of_itself(browser: Browser) -> None:
    browser.open("/doctor")
    rows = {row.text.split(" ")[0] for row in browser.driver.find_elements("css selector", "table tr")}
    assert {"database", "boxes", "upstreams"} <= rows


def define(browser: Browser, text: str) -> None:
    browser.driver.execute_script("document.getElementById('definition').value = arguments[0]", text)


def test_agents_environments_keys_and_budgets_are_made_and_changed_in_forms(
    browser: Browser, server: ServerProcess, client: Any
) -> None:
    browser.size(1280)
    browser.open("/agents/new")
    define(browser, '{"name": "formed", "model": "claude-haiku-5-5"}')
    browser.one("main button.main").click()
    browser.wait(".told", "The agent is made.")
    define(browser, '{"name": "formed again", "model": "claude-haiku-5-5"}')
    browser.one("main button.main").click()
    browser.wait("h1", "formed again")

    define(browser, '{"colour": 1')
    browser.one("main button.main").click()
    browser.wait(".wrong", "This is not JSON")

    browser.open("/environments")
    browser.one("#name").send_keys("from a form")
    browser.one("main button.main").click()
    browser.wait("h1", "from a form")

    browser.open("/keys")
    browser.one('input[name="name"]').send_keys("for the till")
    browser.one("form.line button.main").click()
    secret = browser.wait(".told code").text
    assert secret.startswith("sk-fh-")
    browser.open("/keys")
    assert secret not in browser.driver.page_source
    browser.one('input[name="limit"]').send_keys("0.45")
    browser.driver.find_elements("css selector", "form.line button.main")[1].click()
    browser.wait("td", "$0.45")
