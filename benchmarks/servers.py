"""Questions a second of several language-model servers of which some are slow, fail or die.

python -m benchmarks.servers [--questions 256] [--in-flight 64] [--repeats 3]

Each server is a process of its own that speaks chat completions over HTTP. A good one answers 16 requests at a time,
in 2 s each, and the others wait; a slow one takes 20 s; a failing one gives HTTP 500 at once to 30% of its requests; a
dying one ends without a word when half of its share is done. They are asked by the stage of the noun phrases, in the
parts of a build; the clock runs once each server has been asked, so that processes have started and speeds are known.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import median

SLOTS = 16
SECONDS = 2.0
SLOWER = 10
FAILING = 0.3
CASES = {
    "two good": ("good", "good"),
    "two good, one slow": ("good", "good", "slow"),
    "two good, one failing": ("good", "good", "failing"),
    "two good, one dying": ("good", "good", "dying"),
    "two good and the three": ("good", "good", "slow", "failing", "dying"),
    "slow, failing, dying": ("slow", "failing", "dying"),
}


async def serve(kind: str, dies_after: int) -> None:
    """A server; prints its port, and then every description that it has answered."""
    free = asyncio.Semaphore(SLOTS)
    seconds = SECONDS * (SLOWER if kind == "slow" else 1)
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                body = json.loads(await reader.readexactly(int(length.split(b":")[1])))
                asked += 1
                if kind == "dying" and asked > dies_after:
                    os._exit(1)
                if kind == "failing" and random.random() < FAILING:
                    writer.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 2\r\n\r\n{}")
                    continue
                async with free:
                    await asyncio.sleep(seconds)
                said = json.dumps({"noun_phrase": "the red dog", "subject": "dog"})
                reply = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(reply), reply))
                await writer.drain()
                print(json.loads(body["messages"][-1]["content"])["description"], flush=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def rate(kinds: Sequence[str], questions: int, in_flight: int) -> float:
    """Answers a second."""
    # Imported here: a server needs none of it, and is there the sooner.
    from instructrestore.dataengine.noun_phrases.answers import QUESTIONS_PER_CHUNK  # noqa: PLC0415
    from instructrestore.dataengine.noun_phrases.parser import Parser, ParserAnswer, ParserSettings, Question  # noqa: PLC0415
    from instructrestore.dataengine.running.server_settings import ServerSettings  # noqa: PLC0415

    dies_after = (in_flight + questions) // 2 // sum(kind != "slow" for kind in kinds)
    command = [sys.executable, "-m", "benchmarks.servers", "--dies-after", str(dies_after), "--serve"]
    servers = [subprocess.Popen([*command, kind], stdout=subprocess.PIPE, text=True) for kind in kinds]
    pool, readers = ThreadPoolExecutor(len(kinds)), list[Future[str]]()
    try:
        outputs = [server.stdout for server in servers if server.stdout]
        urls = [f"http://127.0.0.1:{output.readline().strip()}/v1" for output in outputs]
        readers = [pool.submit(output.read) for output in outputs]
        settings = ServerSettings(urls=tuple(urls), model="made", requests_in_flight=in_flight, timeout_s=300)
        parser = Parser(ParserSettings(kind="server", server=settings))
        asked = [Question(f"the dog number {number} is red", 1) for number in range(in_flight + questions)]
        part = max(QUESTIONS_PER_CHUNK, 4 * in_flight)
        answers = parser(asked[:in_flight])
        started = time.monotonic()
        for first in range(in_flight, len(asked), part):
            answers += parser(asked[first : first + part])
        seconds = time.monotonic() - started
    finally:
        for server in servers:
            server.terminate()
        said = [reader.result().splitlines() for reader in readers]
    failed = sum(not isinstance(answer, ParserAnswer) for answer in answers)
    twice = sum(count > 1 for count in Counter(line for lines in said for line in lines).values())
    each = ", ".join(f"{kind} {len(lines)}" for kind, lines in zip(kinds, said, strict=True))
    print(f"  {questions / seconds:6.1f} answers/s; {failed} failed, {twice} answered twice; answered by {each}")
    sys.stdout.flush()
    return questions / seconds


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", choices=("good", "slow", "failing", "dying"))
    parser.add_argument("--dies-after", type=int, default=0, help="requests")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.dies_after))
        return
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(options.repeats):
        for name, kinds in CASES.items():
            print(name, flush=True)
            rates[name].append(rate(kinds, options.questions, options.in_flight))
    print(f"load {os.getloadavg()[0]:.0f}; {options.in_flight} requests under way, a good server {SLOTS / SECONDS:g}/s")
    good = median(rates["two good"])
    for name, found in rates.items():
        print(f"{name:44}{median(found):7.1f} ({min(found):.1f}-{max(found):.1f})  {median(found) / good:5.0%}")


if __name__ == "__main__":
    main()
