from urllib.parse import parse_qs

from work import task


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"].endswith("shutdown"):
                return
    name = parse_qs(scope["query_string"].decode()).get("id", ["none"])[0]
    body = await task(name) if name != "none" else b"fine"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
