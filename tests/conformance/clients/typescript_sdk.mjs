// The official TypeScript SDK: the cases of the suite, one after the other, their outcome as JSON.
import Anthropic from "@anthropic-ai/sdk";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";

const { BASE_URL: baseURL, KEY: apiKey, MATERIALS } = process.env;
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const HAIKU = "claude-haiku-4-5";
const SONNET = "claude-sonnet-4-5";
const HELLO = { model: HAIKU, max_tokens: 100, messages: [{ role: "user", content: "Say hello." }] };
const TOOL = {
  name: "get_weather",
  description: "Get the weather in a city.",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const read = (name) => readFileSync(`${MATERIALS}/${name}`).toString("base64");
const asking = (content, more = {}) => ({ ...HELLO, messages: [{ role: "user", content }], ...more });
const text = (words) => ({ type: "text", text: words });

const cases = {
  async messages() {
    const { data: answer, request_id } = await client.messages.create(HELLO).withResponse();
    assert.equal(answer.content[0].type, "text");
    assert.equal(answer.stop_reason, "end_turn");
    assert.ok(answer.usage.output_tokens > 0 && request_id);
  },
  async streams() {
    let pieces = "";
    const stream = client.messages.stream(HELLO).on("text", (piece) => (pieces += piece));
    const whole = await stream.finalMessage();
    assert.equal(pieces, whole.content[0].text);
    const kinds = [];
    for await (const event of await client.messages.create({ ...HELLO, stream: true })) kinds.push(event.type);
    assert.equal(kinds.at(0), "message_start");
    assert.equal(kinds.at(-1), "message_stop");
  },
  async tools() {
    const asked = { role: "user", content: "What is the weather in Turin?" };
    const first = await client.messages.create({ ...HELLO, tools: [TOOL], messages: [asked] });
    const call = first.content.find((block) => block.type === "tool_use");
    assert.deepEqual(call.input, { city: "Turin" });
    const result = { type: "tool_result", tool_use_id: call.id, content: "It is sunny in Turin." };
    const turns = [asked, { role: "assistant", content: first.content }, { role: "user", content: [result] }];
    const second = await client.messages.create({ ...HELLO, tools: [TOOL], messages: turns });
    assert.match(second.content[0].text, /sunny/);
  },
  async streamed_tools() {
    const asked = asking("What is the weather in Turin?", { tools: [TOOL], tool_choice: { type: "any" } });
    const message = await client.messages.stream(asked).finalMessage();
    assert.deepEqual(message.content.find((block) => block.type === "tool_use").input, { city: "Turin" });
  },
  async thinking() {
    const asked = { ...HELLO, model: SONNET, max_tokens: 3000, thinking: { type: "enabled", budget_tokens: 1024 } };
    const answer = await client.messages.stream(asked).finalMessage();
    assert.equal(answer.content[0].type, "thinking");
    assert.ok(answer.content[0].signature);
    const turns = [...asked.messages, { role: "assistant", content: answer.content }, { role: "user", content: "Again." }];
    assert.equal((await client.messages.create({ ...asked, messages: turns })).stop_reason, "end_turn");
  },
  async images() {
    const source = { type: "base64", media_type: "image/png", data: read("image.png") };
    const seen = await client.messages.create(asking([{ type: "image", source }, text("What is this?")]));
    const plain = await client.messages.create(asking([text("What is this?")]));
    assert.ok(seen.usage.input_tokens > plain.usage.input_tokens);
  },
  async pdfs() {
    const source = { type: "base64", media_type: "application/pdf", data: read("page.pdf") };
    const answer = await client.messages.create(asking([{ type: "document", source }, text("Sum it up.")]));
    assert.equal(answer.stop_reason, "end_turn");
  },
  async structured_output() {
    const schema = {
      type: "object",
      properties: { name: { type: "string" }, age: { type: "integer" } },
      required: ["name", "age"],
      additionalProperties: false,
    };
    const output_config = { format: { type: "json_schema", schema } };
    const answer = await client.messages.create(asking("Ann is 31 years old.", { model: SONNET, output_config }));
    assert.deepEqual(Object.keys(JSON.parse(answer.content[0].text)).sort(), ["age", "name"]);
  },
  async count_tokens() {
    const { model, messages } = HELLO;
    const counted = await client.messages.countTokens({ model, messages });
    assert.equal(counted.input_tokens, (await client.messages.create(HELLO)).usage.input_tokens);
  },
  async errors() {
    const failing = (fault) => client.messages.create(HELLO, { headers: { "x-freehold-fault": fault } });
    await assert.rejects(failing("overloaded"), (error) => error.status === 529);
    await assert.rejects(failing("rate_limit; retry_after_s=7"), (error) => {
      assert.ok(error instanceof Anthropic.RateLimitError);
      return error.headers.get("retry-after") === "7" && Boolean(error.requestID);
    });
    await assert.rejects(failing("api_error"), Anthropic.InternalServerError);
    await assert.rejects(client.messages.create({ ...HELLO, max_tokens: -1 }), Anthropic.BadRequestError);
    await assert.rejects(client.messages.create({ ...HELLO, model: "claude-none" }), Anthropic.NotFoundError);
    const stranger = new Anthropic({ baseURL, apiKey: "sk-no", maxRetries: 0 });
    await assert.rejects(stranger.messages.create(HELLO), Anthropic.AuthenticationError);
  },
};

const found = {};
for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    found[name] = "ok";
  } catch (error) {
    found[name] = `${error.constructor.name}: ${error.message}`.slice(0, 500);
  }
}
const package_ = createRequire(import.meta.url)("./node_modules/@anthropic-ai/sdk/package.json");
console.log(JSON.stringify({ versions: { "@anthropic-ai/sdk": package_.version }, cases: found }));
process.exit(0);
