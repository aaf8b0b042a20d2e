"""Looking through the heap of a program that runs."""

import subprocess
import sys

SEARCHING = """
import asyncio, gc, resource, threading
from noodle_upgrade_runtime.patch.references import holders_of

resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
stop = threading.Event()

async def wait_for_futures():
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        future = loop.create_future()
        loop.call_soon(future.set_result, 1)
        await future

thread = threading.Thread(target=asyncio.run, args=(wait_for_futures(),))
thread.start()
for _ in range(200):
    list(holders_of({id(object())}, gc.get_objects()))
stop.set()
thread.join()
print("alive")
"""


def test_searching_the_heap_never_touches_what_compiled_modules_have_freed():
    ran = subprocess.run([sys.executable, "-c", SEARCHING], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "alive"), ran.stderr[-2000:]
