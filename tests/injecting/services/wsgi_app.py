"""A flask application with one route per behaviour; `python wsgi_app.py SERVER PORT` serves it."""

import sys
import time

from flask import Flask, Response, request

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def index():
    return f"got {len(request.get_data())}"


@app.route("/failing/<int:number>")
def failing(number):
    try:
        return {}["missing"]
    except KeyError as error:
        raise ValueError("no such item") from error


@app.errorhandler(RuntimeError)
def page(error):
    return "an error page", 500


@app.route("/swallowing")
def swallowing():
    raise RuntimeError("swallowed")


@app.route("/breaking")
def breaking():
    def pieces():
        yield "first"
        raise OSError("disk gone")

    return Response(pieces(), headers={"Content-Length": "20"})


@app.route("/busy")
def busy():
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        sum(range(1000))
    return "slow"


@app.route("/waiting")
def waiting():
    time.sleep(1.5)
    return "late"


@app.route("/crashing/<how>")
def crashing(how):
    import ctypes
    import os

    if how == "child" and os.fork():
        os.wait()
        return "its child is gone"
    return ctypes.string_at(1 << 44, 1)


def serve(server, port):
    if server == "wsgiref":
        from wsgiref.simple_server import make_server

        make_server("127.0.0.1", port, app).serve_forever()
    app.run(port=port, threaded=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
