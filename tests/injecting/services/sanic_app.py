"""A sanic application with one route per behaviour."""

import asyncio
import sys
import time

from sanic import Sanic, response

app = Sanic("behaviours")


@app.route("/", methods=["GET", "POST"])
async def index(request):
    return response.text(f"got {len(request.body)}")


@app.get("/failing/<number:int>")
async def failing(request, number):
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("no such item") from error


@app.get("/breaking")
async def breaking(request):
    stream = await request.respond(headers={"Content-Length": "20"})
    await stream.send("first")
    raise OSError("disk gone")


@app.get("/busy")
async def busy(request):
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        sum(range(1000))
    return response.text("slow")


@app.get("/waiting")
async def waiting(request):
    await asyncio.sleep(1.5)
    return response.text("late")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True, motd=False)
