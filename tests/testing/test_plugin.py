"""The pytest plugin, used as another project would: a test file of its own, run by a pytest of its own."""

from __future__ import annotations

import pytest

from tests import programs

pytest_plugins = ["pytester"]

_INI = """
[pytest]
addopts = --strict-markers -p no:cacheprovider -p freehold.testing.plugin
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""

CLIENTS = """
import anthropic

def my_code():
    with anthropic.Anthropic() as client:
        return client.messages.create(
            model="claude-haiku-5-5", max_tokens=100, messages=[{"role": "user", "content": "What is 6 * 7?"}]
        )

def test_the_answer(claude, claude_url):
    assert claude_url.startswith("http://127.0.0.1:")
    answer = my_code()
    assert answer.content[-1].text == "6 * 7 = 42"
    assert claude.requests[0]["messages"][0]["content"] == "What is 6 * 7?"
    used = answer.usage
    assert claude.bill.nanodollars == 100 * used.input_tokens + 500 * used.output_tokens
    assert claude.lines[0].request_id == answer._request_id

def test_nothing_is_left_of_the_test_before(claude):
    assert claude.requests == [] and claude.bill.requests == 0

async def test_async_clients_too(claude):
    async with claude.async_client() as client:
        answer = await client.messages.create(
            model="claude-haiku-5-5", max_tokens=100, messages=[{"role": "user", "content": "Hello"}]
        )
    assert answer.content
"""

MARKERS = """
import pytest

def ask(claude, text):
    with claude.client() as client:
        messages = [{"role": "user", "content": text}]
        return client.messages.create(model="claude-haiku-4-5", max_tokens=100, messages=messages)

@pytest.mark.claude_scenario("refund.yaml")
def test_a_file(claude):
    assert ask(claude, "refund, please").content[0].text == "Done."

@pytest.mark.claude_scenario('''
steps:
  - say: "You said {{text}}"
''')
def test_a_text(claude):
    assert ask(claude, "hi").content[0].text == "You said hi"

ids = []

@pytest.mark.claude_scenario(brain="echo", seed=5)
@pytest.mark.parametrize("again", [1, 2])
def test_a_seed(claude, again):
    ids.append(ask(claude, "hi").id)
    assert len(set(ids)) == 1

@pytest.mark.claude_scenario(start="2026-02-01T00:00:00Z")
def test_a_clock(claude):
    ask(claude, "hi")
    claude.advance(3600)
    ask(claude, "hi")
    first, second = claude.lines
    assert first.at_us // 10**6 in range(1769904000, 1769904060)
    assert (second.at_us - first.at_us) // 10**6 in range(3600, 3660)
"""

FAULTS = """
import anthropic, pytest

def ask(claude, **options):
    with claude.client(**options) as client:
        messages = [{"role": "user", "content": "a"}]
        client.messages.create(model="claude-haiku-4-5", max_tokens=5, messages=messages)

def test_an_overload_passes(claude):
    claude.fault("overloaded", times=2, retry_after_ms=10)
    ask(claude)
    assert (claude.bill.requests, claude.bill.errors) == (3, 2)

def test_an_overload_stays(claude):
    claude.fault("overloaded")
    with pytest.raises(anthropic.OverloadedError):
        ask(claude, max_retries=0)
    claude.clear_faults()
    ask(claude, max_retries=0)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makefile(".ini", pytest=_INI)
    return pytester


def run(project: pytest.Pytester) -> pytest.RunResult:
    done = programs.run("-m", "pytest", cwd=project.path)
    return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)


def test_clients_scenarios_seeds_clocks_and_faults_work_in_one_run(project: pytest.Pytester) -> None:
    project.makefile(".yaml", refund="steps:\n  - on: {text: refund}\n    say: Done.\n")
    project.makepyfile(test_clients=CLIENTS, test_markers=MARKERS, test_faults=FAULTS)
    run(project).assert_outcomes(passed=3 + 5 + 2)


def test_a_wrong_marker_and_a_broken_scenario_are_told_plainly(project: pytest.Pytester) -> None:
    project.makefile(".yaml", broken="steps:\n  - says: Done.\n")
    project.makepyfile(
        """
        import pytest

        @pytest.mark.claude_scenario("broken.yaml")
        def test_a(claude): ...

        @pytest.mark.claude_scenario(sed=5)
        def test_b(claude): ...
        """
    )
    result = run(project)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*broken.yaml:2: a step has no 'says'*"])
    result.stdout.fnmatch_lines(["*claude_scenario takes no sed*"])
