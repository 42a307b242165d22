import asyncio
import os

from anthropic import AsyncAnthropic


async def main():
    key = os.environ["ANTHROPIC_ENVIRONMENT_KEY"]
    worker = AsyncAnthropic(auth_token=key).beta.environments.work.worker(
        environment_id=os.environ["ANTHROPIC_ENVIRONMENT_ID"],
        environment_key=key,
        workdir="project",
    )
    await worker.run()


asyncio.run(main())
