"""A flask application that calls the service at DOWNSTREAM in several ways; `python calling_app.py PORT`."""

import asyncio
import os
import sys
import urllib.request

import aiohttp
import httpx
from flask import Flask

app = Flask(__name__)
URL = os.environ["DOWNSTREAM"]


@app.route("/")
def index():
    return "ready"


@app.route("/urllib")
def with_urllib():
    return urllib.request.urlopen(URL + "/echo", data=b"from urllib").read()


@app.route("/httpx")
def with_httpx():
    return httpx.post(URL + "/echo", content=b"from httpx").content


@app.route("/httpx-async")
def with_async_httpx():
    async def call():
        async with httpx.AsyncClient() as client:
            return (await client.post(URL + "/echo", content=b"from httpx-async")).content

    return asyncio.run(call())


@app.route("/aiohttp")
def with_aiohttp():
    async def call():
        async with aiohttp.ClientSession() as session, session.post(URL + "/echo", data=b"from aiohttp") as answer:
            return await answer.read()

    return asyncio.run(call())


@app.route("/traced")
def traced_by_another():
    request = urllib.request.Request(URL + "/echo", headers={"traceparent": f"00-{'c' * 32}-{'d' * 16}-01"})
    return urllib.request.urlopen(request).read()


@app.route("/slow")
def slow():
    try:
        urllib.request.urlopen(URL + "/slow", timeout=0.2)
    except OSError:
        return "gave up"


@app.route("/refused")
def refused():
    try:
        httpx.get("http://127.0.0.1:1/")
    except httpx.ConnectError:
        return "refused"


@app.route("/in-process")
def in_process():
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200)), base_url=URL) as client:
        return str(client.get("/x").status_code)


app.run(port=int(sys.argv[1]))
