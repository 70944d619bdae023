"""A tornado application with one route per behaviour."""

import asyncio
import sys
import time

import tornado.web


class Index(tornado.web.RequestHandler):
    def get(self):
        self.write("got 0")

    def post(self):
        self.write(f"got {len(self.request.body)}")


class Failing(tornado.web.RequestHandler):
    def get(self, number):  # noqa: ARG002 - the route's group
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("no such item") from error


class Breaking(tornado.web.RequestHandler):
    async def get(self):
        self.set_header("Content-Length", "20")
        self.write("first")
        await self.flush()
        raise OSError("disk gone")


class Busy(tornado.web.RequestHandler):
    def get(self):
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            sum(range(1000))
        self.write("slow")


class Waiting(tornado.web.RequestHandler):
    async def get(self):
        await asyncio.sleep(1.5)
        self.write("late")


async def main():
    routes = [("/", Index), ("/failing/(.*)", Failing), ("/breaking", Breaking), ("/busy", Busy)]
    tornado.web.Application([*routes, ("/waiting", Waiting)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
