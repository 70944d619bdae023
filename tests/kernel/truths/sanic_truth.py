import sys

from sanic import Sanic, raw
from work import task

app = Sanic("truth")
app.config.USE_UVLOOP = "uvloop" in sys.argv


@app.get("/")
async def handle(request):
    name = request.args.get("id", "none")
    return raw(await task(name) if name != "none" else b"fine")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True, access_log=False)
