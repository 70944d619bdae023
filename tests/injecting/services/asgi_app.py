"""A starlette application with one route per behaviour."""

import asyncio
import time

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route


async def index(request):
    return PlainTextResponse(f"got {len(await request.body())}")


async def failing(request):
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("no such item") from error


async def page(request, error):
    return PlainTextResponse("an error page", 500)


async def swallowing(request):
    raise RuntimeError("swallowed")


def pieces():
    yield "first"
    raise OSError("disk gone")


async def breaking(request):
    return StreamingResponse(pieces(), headers={"Content-Length": "20"})


def busy(request):
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        sum(range(1000))
    return PlainTextResponse("slow")


async def waiting(request):
    await asyncio.sleep(1.5)
    return PlainTextResponse("late")


async def crashing(request):
    import ctypes

    await asyncio.sleep(0)
    return ctypes.string_at(1 << 44, 1)


routes = [
    Route("/", index, methods=["GET", "POST"]),
    Route("/failing/{number}", failing),
    Route("/swallowing", swallowing),
    Route("/breaking", breaking),
    Route("/busy", busy),
    Route("/waiting", waiting),
    Route("/crashing", crashing),
]
app = Starlette(routes=[Mount("/inner", routes=routes), *routes], exception_handlers={RuntimeError: page})
