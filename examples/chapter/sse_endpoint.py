"""An endpoint that streams Claude's answer to a browser as server-sent events.

Each piece is JSON, so a line break inside it cannot end the event; when the reader leaves, the block around the stream
is left too, and Claude stops. `app` is a Starlette application; FastAPI takes the same `StreamingResponse`.
Run `uvicorn sse_endpoint:app`, or this file, which asks itself once.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2
from anthropic import AsyncAnthropic
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

open_streams = 0


async def events(question: str) -> AsyncIterator[str]:
    global open_streams
    messages = [{"role": "user", "content": question}]
    async with (
        AsyncAnthropic() as client,
        client.messages.stream(model="claude-haiku-5-5", max_tokens=300, messages=messages) as stream,
    ):
        open_streams += 1
        try:
            async for text in stream.text_stream:
                yield f"data: {json.dumps({'text': text})}\n\n"
            usage = (await stream.get_final_message()).usage
            yield f"event: done\ndata: {json.dumps({'output_tokens': usage.output_tokens})}\n\n"
        finally:
            open_streams -= 1


async def chat(request: Request) -> StreamingResponse:
    return StreamingResponse(events(request.query_params["q"]), media_type="text/event-stream")


app = Starlette(routes=[Route("/chat", chat)])


async def main() -> None:
    # Read to the end, and fold the pieces together again.
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as browser:
        answer = await browser.get("/chat", params={"q": "Write a line.\n\nThen another one."})
    data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    print("".join(piece.get("text", "") for piece in data))
    print(f"{len(data) - 1} pieces, {data[-1]['output_tokens']} tokens")
    # A reader that leaves after the first piece.
    leaving = events("Tell me a long story.")
    await anext(leaving)
    await leaving.aclose()
    print(f"streams still open: {open_streams}")


if __name__ == "__main__":
    asyncio.run(main())
