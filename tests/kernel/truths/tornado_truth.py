import asyncio
import sys

import tornado.web
from work import task


class Handler(tornado.web.RequestHandler):
    async def get(self):
        name = self.get_argument("id", "none")
        self.write(await task(name) if name != "none" else b"fine")


async def main():
    tornado.web.Application([("/", Handler)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
