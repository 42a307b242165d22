// Calls the official TypeScript SDK once for each case on stdin, all at once, and prints what came of each as JSON.
import Anthropic from "@anthropic-ai/sdk";
import { readFileSync } from "node:fs";

const { url, cases } = JSON.parse(readFileSync(0, "utf-8"));

async function run({ fault, stream, timeout_ms: timeout }, index) {
  const client = new Anthropic({
    apiKey: `key-${index}`,
    baseURL: url,
    timeout,
    defaultHeaders: { "x-freehold-fault": fault },
  });
  const request = {
    model: "claude-haiku-4-5",
    max_tokens: 1000,
    messages: [{ role: "user", content: "word ".repeat(200) }],
  };
  let text = "";
  try {
    if (stream) {
      const events = client.messages.stream(request);
      events.on("text", (piece) => (text += piece));
      await events.finalMessage();
    } else {
      text = (await client.messages.create(request)).content[0].text;
    }
    return { text: text.length, raised: null };
  } catch (error) {
    return { text: text.length, raised: error.constructor.name, message: String(error.message) };
  }
}

console.log(JSON.stringify(await Promise.all(cases.map(run))));
process.exit(0);
