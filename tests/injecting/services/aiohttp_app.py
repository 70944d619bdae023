"""An aiohttp application with one route per behaviour."""

import asyncio
import pathlib
import sys
import time

from aiohttp import web


async def index(request):
    return web.Response(text=f"got {len(await request.read())}")


async def failing(request):
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("no such item") from error


class Late(web.Response):
    async def prepare(self, request):  # noqa: ARG002 - aiohttp's signature
        raise NotADirectoryError("after the handler")


async def late(request):
    return Late()


async def breaking(request):
    response = web.StreamResponse(headers={"Content-Length": "20"})
    await response.prepare(request)
    await response.write(b"first")
    raise OSError("disk gone")


async def busy(request):
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        sum(range(1000))
    return web.Response(text="slow")


async def waiting(request):
    await asyncio.sleep(1.5)
    return web.Response(text="late")


async def file(request):
    return web.FileResponse(pathlib.Path(__file__))


app = web.Application()
app.add_routes([web.get("/", index), web.post("/", index), web.get("/failing/{number}", failing)])
app.add_routes([web.get("/late", late), web.get("/breaking", breaking), web.get("/busy", busy)])
app.add_routes([web.get("/waiting", waiting), web.get("/file", file)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
