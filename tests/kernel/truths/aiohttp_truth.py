import sys

from aiohttp import web
from work import task


async def handle(request):
    name = request.query.get("id", "none")
    return web.Response(body=await task(name) if name != "none" else b"fine")


app = web.Application()
app.router.add_get("/", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
