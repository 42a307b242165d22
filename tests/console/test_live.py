"""A session watched in a real browser: what happens shows without a reload, and a person can answer, stop and speak."""

from __future__ import annotations

from typing import Any

from tests.console.browser import Browser

RUN = "Please run\n```bash\necho ran | tr a-z A-Z\n```"


def say(browser: Browser, text: str) -> None:
    browser.run(f"document.getElementById('text').value = {text!r}")
    browser.one("form.say button").click()


def test_what_is_said_elsewhere_shows_here(browser: Browser, client: Any, session_id: str) -> None:
    browser.open(f"/sessions/{session_id}")
    mark = "return (window.mark = window.mark || Math.random())"
    before = browser.run(mark)
    said: Any = {"type": "user.message", "content": [{"type": "text", "text": "Hello from elsewhere."}]}
    client.beta.sessions.events.send(session_id, events=[said])
    browser.wait(".speech.you", "Hello from elsewhere.")
    browser.wait(".speech.agent", "Hello")
    browser.wait("#status", "idle")
    assert browser.run(mark) == before, "the page was not loaded again"


def test_a_waiting_call_is_allowed_and_runs(browser: Browser, session_id: str) -> None:
    browser.open(f"/sessions/{session_id}")
    say(browser, RUN)
    ask = browser.wait("section.ask")
    assert "echo ran | tr a-z A-Z" in ask.text
    browser.wait("#status", "waits")
    browser.one('section.ask button[value="allow"]').click()
    browser.wait("details.result", "RAN")
    browser.wait("#status", "idle")
    assert not browser.driver.find_elements("css selector", "section.ask")


def test_a_waiting_call_is_denied_with_a_reason(browser: Browser, session_id: str) -> None:
    browser.open(f"/sessions/{session_id}")
    say(browser, RUN)
    browser.wait("section.ask")
    browser.one('section.ask input[name="reason"]').send_keys("Not on a Sunday.")
    browser.one('section.ask button[value="deny"]').click()
    browser.wait("details.failed", "Not on a Sunday.")
    browser.wait("#status", "idle")


def test_a_session_is_interrupted(browser: Browser, client: Any, session_id: str) -> None:
    browser.open(f"/sessions/{session_id}")
    say(browser, RUN)
    browser.wait("section.ask")
    browser.one(".actions form button").click()
    browser.wait(".note", "user.interrupt")
    browser.wait("#status", "idle")
    kinds = [event.type for event in client.beta.sessions.events.list(session_id, limit=1000)]
    assert "user.interrupt" in kinds


def test_files_that_it_leaves_can_be_downloaded(browser: Browser, client: Any, session_id: str) -> None:
    browser.open(f"/sessions/{session_id}")
    say(browser, "Please run\n```bash\necho 42 > /mnt/session/outputs/answer.txt\n```")
    browser.wait("section.ask")
    browser.one('section.ask button[value="allow"]').click()
    link = browser.wait("#aside a", "answer.txt").get_attribute("href")
    fetched = "const done = arguments[arguments.length - 1]; fetch(arguments[0]).then(async a => done([a.headers.get("
    fetched += "'content-disposition'), await a.text()]))"
    assert browser.driver.execute_async_script(fetched, link) == [
        "attachment; filename=\"answer.txt\"; filename*=UTF-8''answer.txt",
        "42\n",
    ]


def test_each_turn_tells_its_cost_and_a_session_is_forked_from_its_page(
    browser: Browser, client: Any, session_id: str
) -> None:
    browser.open(f"/sessions/{session_id}")
    turns = [row.text for row in browser.driver.find_elements("css selector", "#aside table tr") if ":" in row.text]
    assert len(turns) >= 4 and all("$0.0" in row for row in turns)
    browser.one("#fork_title").send_keys("A second way")
    browser.one('form[action$="/fork"] button').click()
    browser.wait(".told", "goes on from there")
    assert browser.wait("h1", "A second way")
    assert browser.one("#story").text, "the log came along"
    forked = browser.driver.current_url.rsplit("/", 1)[1]
    assert forked != session_id and client.beta.sessions.retrieve(forked).title == "A second way"


def test_a_long_session_scrolls_at_once(browser: Browser, client: Any) -> None:
    """5,000 entries: the browser lays out only what is seen, so that a scroll costs one frame."""
    agent = client.beta.agents.create(name="long", model="claude-haiku-4-5")
    environment = client.beta.environments.list().data[0]
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    browser.open(f"/sessions/{session.id}")
    entries = """
      const story = document.getElementById('story');
      for (let number = 0; number < 5000; number++) {
        const one = document.createElement('article');
        one.className = 'entry speech agent';
        one.innerHTML = '<header><b>agent</b></header><div class="text"></div>';
        one.lastElementChild.textContent = 'line '.repeat(60) + number;
        story.append(one);
      }
      return story.children.length;
    """
    assert browser.run(entries) >= 5000
    laid_out = """
      const body = document.body, costs = [];
      for (const width of [900, 880, 860]) {
        const before = performance.now();
        body.style.width = `${width}px`; body.offsetHeight;
        costs.push(performance.now() - before);
      }
      return Math.min(...costs);
    """
    what_is_seen = browser.run(laid_out)
    browser.run("for (const one of document.querySelectorAll('.entry')) one.style.contentVisibility = 'visible'")
    everything = browser.run(laid_out)
    assert what_is_seen < everything / 2, "only what is seen is laid out"
