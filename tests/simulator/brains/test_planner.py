"""The planner as an agent: picks tools by words, fills inputs, calls in parallel or in sequence, repairs, reports."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from freehold.simulator.upstream import Simulator
from tests.simulator.kit import (
    HAIKU,
    assistant,
    body,
    calls_of,
    message,
    refusal,
    results,
    simulator,
    text_of,
    tool,
    user,
)

_BASH = tool(
    "bash", "Run a command in a persistent shell", (), command="string", restart="boolean", timeout_ms="integer"
)
_FILES = [
    tool("read", "Read a file", ("file_path",), file_path="string", view_range="array"),
    tool("write", "Write a file", file_path="string", content="string"),
    tool("edit", "Replace text in a file", file_path="string", old_string="string", new_string="string"),
    tool("glob", "Find files by pattern", ("pattern",), pattern="string", path="string"),
    tool("grep", "Search in files", ("pattern",), pattern="string", path="string"),
]
_COMPANY = [
    tool("mcp__company__get_user", "Look up one user by id.", user_id="string"),
    tool("mcp__company__list_orders", "List the orders of a user.", ("user_id",), user_id="string", limit="integer"),
    tool("mcp__company__user_activity", "What a user did lately.", ("user_id",), user_id="string", days="integer"),
    tool("mcp__company__delete_user", "Delete a user for good.", user_id="string"),
    tool("mcp__company__list_invoices", "Invoices of a supplier.", supplier_id="string"),
]
_CONVERT = {
    **tool("convert_currency", "Convert money"),
    "input_schema": {
        "type": "object",
        "properties": {"amount": {"type": "number"}, "from": {"type": "string"}, "to": {"type": "string"}},
        "required": ["amount", "from", "to"],
    },
}
_ALL = [_BASH, *_FILES, *_COMPANY]
_CODE = "import csv\nrows = list(csv.DictReader(open('/mnt/session/uploads/orders.csv')))\nprint(len(rows))\n"
_FENCED = f"```python\n{_CODE}```"


def run(command: str) -> str:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout


async def calls(text: str, tools: list[dict[str, Any]] | None = None, **more: Any) -> list[tuple[str, dict[str, Any]]]:
    answer = await message(simulator(), body(text, tools=tools or _ALL, model=HAIKU, **more))
    return calls_of(answer)


class Chat:
    """A conversation with the planner."""

    def __init__(self, text: str, tools: list[dict[str, Any]], **more: Any) -> None:
        self.simulator: Simulator = simulator()
        self.request = body(text, tools=tools, model=HAIKU, **more)
        self.answer: dict[str, Any] = {}

    async def ask(self) -> list[tuple[str, dict[str, Any]]]:
        self.answer = await message(self.simulator, self.request)
        return calls_of(self.answer)

    async def back(self, *texts: str, errors: tuple[int, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
        """Give the results of the last calls, and see what comes next."""
        said = [assistant(*self.answer["content"]), results(self.answer, *texts, errors=errors)]
        self.request["messages"] = [*self.request["messages"], *said]
        return await self.ask()


@pytest.mark.parametrize(
    "text",
    [
        f"Run this on the file:\n\n{_FENCED}\n\nAlso look up user u_1001, their orders and their activity.",
        f"请运行下面的代码：\n\n{_FENCED}\n\n同时查询用户 u_1001 的资料、订单和最近的活动。",
    ],
    ids=["english", "chinese"],
)
async def test_a_block_and_three_look_ups_go_out_in_one_message(text: str) -> None:
    answer = await message(simulator(), body(text, tools=_ALL, model=HAIKU))
    assert [block["type"] for block in answer["content"]] == ["thinking", "text", *["tool_use"] * 4]
    assert answer["stop_reason"] == "tool_use"
    made = dict(calls_of(answer))
    assert _CODE.strip() in made["bash"]["command"]
    assert made["mcp__company__get_user"] == {"user_id": "u_1001"}
    assert made["mcp__company__list_orders"] == {"user_id": "u_1001"}
    assert made["mcp__company__user_activity"] == {"user_id": "u_1001"}


async def test_the_answer_quotes_what_came_back_in_the_language_of_the_user() -> None:
    chat = Chat(f"请运行：\n{_FENCED}\n并查询用户 u_1001 的订单。", [_BASH, *_COMPANY])
    assert len(await chat.ask()) >= 2
    returned = ["5000", '[{"order_id": "ord_9", "amount": 182.5, "status": "shipped"}]']
    assert await chat.back(*returned, *["{}"] * (len(calls_of(chat.answer)) - 2)) == []
    said = text_of(chat.answer)
    assert "5000" in said and "ord_9" in said and "182.5" in said and "shipped" in said
    assert "已完成" in said
    assert chat.answer["stop_reason"] == "end_turn"


async def test_the_block_really_runs(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "amount"], *[[n, n * 1.5] for n in range(40)]])
    (_, given), *_ = await calls(
        f"Please run\n```python\n{_CODE.replace('/mnt/session/uploads/orders.csv', str(path))}```"
    )
    assert run(given["command"]).strip() == "40"


async def test_a_table_named_without_code_is_summed_up_by_real_code(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "amount", "city"], *[[n, 2.5, "Rome"] for n in range(40)]])
    ((name, given),) = await calls(f"Analyse {path}: how many rows and what total amount?")
    assert name == "bash"
    printed = run(given["command"])
    assert "40 rows" in printed and "amount: sum 100.00" in printed and "Rome (40)" in printed


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("text", "name", "given"),
    [
        ("Run\n```bash\nls -la\n```", "bash", {"command": "ls -la"}),
        ("Run\n```sh\n$ pwd\n$ ls\n```", "bash", {"command": "pwd\nls"}),
        ("Please run `git status`", "bash", {"command": "git status"}),
        ("执行 `df -h` 看看", "bash", {"command": "df -h"}),
        ("Read notes/todo.md please", "read", {"file_path": "notes/todo.md"}),
        ("看看 config.yaml 里有什么内容", "read", {"file_path": "config.yaml"}),
        ('Write "hello world" to greeting.txt', "write", {"file_path": "greeting.txt", "content": "hello world\n"}),
        ("Save this to data/a.json:\n```json\n{}\n```", "write", {"file_path": "data/a.json", "content": "{}\n"}),
        (
            'In app.py replace "debug = True" with "debug = False"',
            "edit",
            {"file_path": "app.py", "old_string": "debug = True", "new_string": "debug = False"},
        ),
        (
            "把 settings.toml 里的 “8000” 改成 “9000”",
            "edit",
            {"file_path": "settings.toml", "old_string": "8000", "new_string": "9000"},
        ),
        ("Which files match **/*.py ?", "glob", {"pattern": "**/*.py"}),
        ('Search for "TODO" in src/main.py', "grep", {"pattern": "TODO", "path": "src/main.py"}),
    ],
)
async def test_files_and_the_shell_are_used_as_the_words_ask(text: str, name: str, given: dict[str, Any]) -> None:
    assert (name, given) in await calls(text, [_BASH, *_FILES])


async def test_without_file_tools_the_shell_does_it() -> None:
    assert await calls("Read notes.md", [_BASH]) == [("bash", {"command": "cat 'notes.md'"})]


async def test_typed_tools_are_known_by_heart() -> None:
    tools = [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "memory_20250818", "name": "memory"},
    ]
    made = await calls("Read notes.md", tools)
    assert ("memory", {"command": "view", "path": "/memories"}) in made
    assert ("str_replace_based_edit_tool", {"command": "view", "path": "notes.md"}) in made


async def test_what_to_remember_is_written_into_memory() -> None:
    chat = Chat("Remember that my dog is called Rex.", [{"type": "memory_20250818", "name": "memory"}])
    await chat.ask()
    ((_, given),) = await chat.back("(empty)")
    assert given["command"] == "create" and "Rex" in given["file_text"]
    assert await chat.back("File created successfully at: /memories/notes.md") == []


async def test_a_tool_that_needs_another_s_result_waits_for_it() -> None:
    tools = [
        tool("find_customer", "Find a customer by email address.", email="string"),
        tool("list_invoices", "List the invoices of a customer.", customer_id="string"),
    ]
    chat = Chat("Find the customer ada@example.com and list their invoices.", tools)
    assert await chat.ask() == [("find_customer", {"email": "ada@example.com"})]
    assert await chat.back('{"id": "cus_42", "name": "Ada"}') == [("list_invoices", {"customer_id": "cus_42"})]
    assert await chat.back('[{"number": "INV-7", "total": 99.9}]') == []
    assert "INV-7" in text_of(chat.answer) and "99.9" in text_of(chat.answer)


@pytest.mark.parametrize(
    ("text", "tools", "expected"),
    [
        (
            "What's the weather in New York in fahrenheit?",
            [
                tool(
                    "get_weather",
                    "",
                    ("city",),
                    city="string",
                    unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
                )
            ],
            [("get_weather", {"city": "New York", "unit": "fahrenheit"})],
        ),
        (
            "上海的天气怎么样？",
            [tool("get_weather", "查询城市天气", city="string")],
            [("get_weather", {"city": "上海"})],
        ),
        (
            "Show sales from 2026-03-01 to 2026-03-31",
            [tool("sales_report", "Sales in a period", start_date="string", end_date="string")],
            [("sales_report", {"start_date": "2026-03-01", "end_date": "2026-03-31"})],
        ),
        (
            "查询2026年3月5日的销售报表",
            [tool("sales_report", "Sales of a day", date="string")],
            [("sales_report", {"date": "2026-03-05"})],
        ),
        (
            "Activity of user u_7 over the last 30 days",
            _COMPANY,
            [("mcp__company__user_activity", {"user_id": "u_7", "days": 30})],
        ),
        ("用户 u_7 最近30天的活动", _COMPANY, [("mcp__company__user_activity", {"user_id": "u_7", "days": 30})]),
        (
            'Create a ticket titled "Printer is on fire" with priority high',
            [
                tool(
                    "create_ticket",
                    "Open a support ticket",
                    title="string",
                    priority={"type": "string", "enum": ["low", "high"]},
                )
            ],
            [("create_ticket", {"title": "Printer is on fire", "priority": "high"})],
        ),
        (
            "Convert 250 USD to EUR",
            [_CONVERT],
            [("convert_currency", {"amount": 250, "from": "USD", "to": "EUR"})],
        ),
        (
            "Send an email to bob@example.com saying “see you at 5”",
            [tool("send_email", "Send an email", to_email="string", message="string")],
            [("send_email", {"to_email": "bob@example.com", "message": "see you at 5"})],
        ),
        (
            "Look up users u_1 and u_2",
            _COMPANY,
            [("mcp__company__get_user", {"user_id": "u_1"}), ("mcp__company__get_user", {"user_id": "u_2"})],
        ),
        (
            "Compare the weather in Paris, New York and Rome",
            [tool("get_weather", city="string")],
            [("get_weather", {"city": city}) for city in ("Paris", "New York", "Rome")],
        ),
        ("Call get_time for me", [tool("get_time"), tool("get_date")], [("get_time", {})]),
        (
            "Who maintains the billing service?",
            [tool("search_docs", "Search the knowledge base", query="string")],
            [("search_docs", {"query": "Who maintains the billing service"})],
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_inputs_are_read_from_the_text_by_the_schema(
    text: str, tools: list[dict[str, Any]], expected: list[tuple[str, dict[str, Any]]]
) -> None:
    assert await calls(text, tools) == expected


async def test_nothing_is_deleted_that_nobody_asked_to_delete() -> None:
    assert "mcp__company__delete_user" not in dict(await calls("Look up user u_1001", _COMPANY))
    assert "mcp__company__delete_user" in dict(await calls("Delete user u_1001", _COMPANY))


async def test_a_question_that_no_tool_fits_is_answered_without_tools() -> None:
    assert await calls("What is 2 + 3?", _COMPANY) == []


async def test_one_call_at_a_time_where_parallel_calls_are_forbidden() -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert len(await calls("Look up user u_1, their orders and activity", _COMPANY, tool_choice=choice)) == 1


async def test_a_forced_tool_is_called_with_an_input_that_fits() -> None:
    tools = [tool("record", "Store a summary", summary="string", score={"type": "integer", "minimum": 1, "maximum": 5})]
    request = body("The film was fine.", tools=tools, tool_choice={"type": "tool", "name": "record"})
    ((name, given),) = calls_of(await message(simulator(), request))
    assert name == "record" and isinstance(given["summary"], str) and 1 <= given["score"] <= 5


async def test_a_failure_is_followed_up_once() -> None:
    chat = Chat("Look up user u_1001", _COMPANY)
    await chat.ask()
    assert await chat.back("timeout after 5 s", errors=(0,)) == [("mcp__company__get_user", {"user_id": "u_1001"})]
    assert await chat.back("timeout after 5 s", errors=(0,)) == []
    assert "timeout after 5 s" in text_of(chat.answer) and "failed" in text_of(chat.answer)


async def test_a_suggested_value_is_tried() -> None:
    chat = Chat("Look up user u_1001", _COMPANY)
    await chat.ask()
    again = await chat.back("There is no user u_1001. Did you mean u_1010?", errors=(0,))
    assert again == [("mcp__company__get_user", {"user_id": "u_1010"})]
    assert await chat.back('{"name": "Grace Hopper"}') == []
    assert "Grace Hopper" in text_of(chat.answer)


async def test_a_missing_file_makes_it_look_around() -> None:
    chat = Chat("Read report.md", [_BASH, *_FILES])
    await chat.ask()
    assert await chat.back("The path report.md does not exist", errors=(0,)) == [("bash", {"command": "pwd; ls -la"})]
    assert await chat.back("README.md\nreport.txt") == []


async def test_a_refusal_by_the_user_is_not_tried_again() -> None:
    chat = Chat("Look up user u_1001", _COMPANY)
    await chat.ask()
    assert await chat.back("The user denied this call.", errors=(0,)) == []


async def test_a_new_question_starts_a_new_task() -> None:
    chat = Chat("Look up user u_1001", _COMPANY)
    await chat.ask()
    await chat.back('{"name": "Ada"}')
    chat.request["messages"] = [*chat.request["messages"], assistant(*chat.answer["content"]), user("And user u_1002?")]
    assert await chat.ask() == [("mcp__company__get_user", {"user_id": "u_1002"})]


async def test_several_blocks_run_one_after_another() -> None:
    chat = Chat("Run\n```bash\necho one > a\n```\nand then\n```bash\ncat a\n```", [_BASH])
    assert await chat.ask() == [("bash", {"command": "echo one > a"})]
    assert await chat.back("") == [("bash", {"command": "cat a"})]
    assert await chat.back("one") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("What is 17 * (3 + 4)?", "17 * (3 + 4) = 119"),
        ("10 / 4 等于多少？", "10 / 4 = 2.5"),
        ("What is 2 / 0?", "As a helpful pirate: I read your message"),
        ("Hello!", "Hello! I am a helpful pirate. What can I do for you?"),
        ("你好", "你好！"),
        ("Thanks a lot", "You are welcome!"),
    ],
)
async def test_it_can_talk_a_little(text: str, said: str) -> None:
    answer = await message(simulator(), body(text, system="You are a helpful pirate."))
    assert text_of(answer).startswith(said)


@pytest.mark.parametrize(
    ("told", "asked", "word"),
    [
        ("My name is Ada and I like tea.", "What is my name?", "Ada"),
        ("我的项目叫做北极星。", "我的项目叫什么？", "北极星"),
    ],
)
async def test_it_remembers_what_was_said_earlier(told: str, asked: str, word: str) -> None:
    answer = await message(simulator(), body(told, assistant("Noted."), asked))
    assert word in text_of(answer)


async def test_structured_output_takes_its_values_from_the_text() -> None:
    schema = {
        "type": "object",
        "properties": {
            "order_id": {"type": "string"},
            "amount": {"type": "number"},
            "status": {"enum": ["open", "shipped"]},
            "items": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["order_id", "amount", "status", "items"],
        "additionalProperties": False,
    }
    text = 'Order ord_5 over 12.75 dollars was shipped with "tea" and "cake".'
    answer = await message(simulator(), body(text, output_config={"format": {"type": "json_schema", "schema": schema}}))
    expected = '{"order_id":"ord_5","amount":12.75,"status":"shipped","items":["tea","cake"]}'
    assert text_of(answer) == expected


async def test_thinking_is_shown_hidden_or_absent_as_the_model_does() -> None:
    def kinds(answer: dict[str, Any]) -> list[tuple[str, bool]]:
        return [(block["type"], bool(block.get("thinking"))) for block in answer["content"] if block["type"] != "text"]

    one = simulator()
    assert kinds(await message(one, body("Hi", model=HAIKU))) == [("thinking", False)]
    shown = {"type": "adaptive", "display": "summarized"}
    assert kinds(await message(one, body("Hi", model=HAIKU, thinking=shown))) == [("thinking", True)]
    assert kinds(await message(one, body("Hi", model=HAIKU, thinking={"type": "disabled"}))) == []
    assert kinds(await message(one, body("Hi", model="claude-opus-4-8"))) == []
    assert kinds(await message(one, body("Hi", model="claude-sonnet-4-6", thinking={"type": "adaptive"}))) == [
        ("thinking", True)
    ]


async def test_between_tools_it_thinks_only_after_results() -> None:
    chat = Chat("Look up user u_1001", _COMPANY, thinking={"type": "between_tools"})
    chat.request["model"] = "claude-sonnet-5-5"
    await chat.ask()
    assert chat.answer["content"][0]["type"] == "text"
    await chat.back('{"name": "Ada"}')
    assert chat.answer["content"][0]["type"] == "thinking"


async def test_a_tool_that_is_not_offered_is_never_called() -> None:
    request = body(f"Run\n{_FENCED}", tools=_COMPANY, model=HAIKU)
    assert calls_of(await message(simulator(), request)) == []
    assert await refusal(simulator(), body("x", tool_choice={"type": "auto"}))
