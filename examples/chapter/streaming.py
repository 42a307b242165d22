"""Streaming, with the sync and the async client: text as it comes, then the whole message with its usage."""

import asyncio

from anthropic import Anthropic, AsyncAnthropic

QUESTION = {
    "model": "claude-haiku-5-5",
    "max_tokens": 300,
    "messages": [{"role": "user", "content": "Name three trees."}],
}


def synchronous() -> None:
    with Anthropic() as client, client.messages.stream(**QUESTION) as stream:
        pieces = [text for text in stream.text_stream if print(text, end="", flush=True) is None]
        print(f"\nsync: {len(pieces)} pieces, {stream.get_final_message().usage.output_tokens} tokens")


async def asynchronous() -> None:
    async with AsyncAnthropic() as client, client.messages.stream(**QUESTION) as stream:
        pieces = 0
        async for text in stream.text_stream:
            print(text, end="", flush=True)
            pieces += 1
        print(f"\nasync: {pieces} pieces, {(await stream.get_final_message()).usage.output_tokens} tokens")


synchronous()
asyncio.run(asynchronous())
