import Anthropic from "@anthropic-ai/sdk";

const key = process.env.ANTHROPIC_ENVIRONMENT_KEY;
const worker = new Anthropic({ authToken: key }).beta.environments.work.worker({
  environmentId: process.env.ANTHROPIC_ENVIRONMENT_ID,
  environmentKey: key,
  workdir: "project",
});
await worker.run();
