"""What every server of these tests does for a request with `?id=ID`: calls that fail, whose path names the request."""

import asyncio
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

POOL = ThreadPoolExecutor(3)


def fail(name, step):
    try:
        os.open(f"/nowhere/{name}/{step}", 0)
    except OSError:
        return


def threaded(name):
    fail(name, "begin")
    time.sleep(random.random() * 0.005)
    POOL.submit(fail, name, "pool").result()
    fail(name, "end")
    return b"fine"


async def task(name):
    fail(name, "begin")
    await asyncio.sleep(random.random() * 0.005)
    fail(name, "middle")
    await asyncio.gather(*(nested(name, number) for number in range(2)))
    await asyncio.to_thread(fail, name, "thread")
    await asyncio.get_running_loop().run_in_executor(POOL, fail, name, "executor")
    fail(name, "end")
    return b"fine"


async def nested(name, number):
    await asyncio.sleep(random.random() * 0.003)
    fail(name, f"nested{number}")
