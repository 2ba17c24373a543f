"""What asking a teacher costs: requests per second and processor time, beside a bare AsyncOpenAI loop and bespokelabs-curator.

    python benchmarks/calls.py                                  # live, 64 at once, answers after 100 ms
    python benchmarks/calls.py --curator-python DIR/bin/python  # the same with curator 0.1.31, installed in a venv of its own
    python benchmarks/calls.py --many 100000                    # does it stay as fast and as small?
    python benchmarks/calls.py --cached 100000                  # stored replies, read back

A server on loopback, in a process of its own, answers every chat completion after a delay. The sides take turns; each turn is a
fresh process that imports and opens everything, is warmed up on requests that do not count, and then asks. "Ours" is
`MeteredTeacher.ask` with everything on: the ledger in a new folder, reservations, caps, replies durable before they are read.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROMPT = (
    "Question {}: " + "A train leaves at nine and another one at ten, both for the same town, and so on. " * 6 + "Who is first?"
)
REPLY = "First I look at the times, then at the speeds, and last at the distances. " * 8 + "The answer is: {}"
WARM_UP = 128  # requests of each turn that do not count


# The server


class Teacher(asyncio.Protocol):
    """Answers chat completions, one after the other on each connection, after a delay."""

    delay = 0.1
    body = json.dumps(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 140, "completion_tokens": 160, "total_tokens": 300},
        }
    ).encode()
    page = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    def connection_made(self, transport: Any) -> None:
        self.transport, self.had = transport, b""

    def data_received(self, data: bytes) -> None:
        self.had += data
        head, found, rest = self.had.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) >= length:
            self.had = rest[length:]
            asyncio.get_running_loop().call_later(self.delay, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.page)


async def serve(delay: float) -> None:
    """Serve on a free port of loopback, printed as the first line, until the process is ended."""
    Teacher.delay = delay
    server = await asyncio.get_running_loop().create_server(Teacher, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(delay: float) -> Iterator[str]:
    """Run the server in a process of its own while the block runs; hand out its address."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--side", "serve", "--delay", str(delay)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait()


# The sides; each prints one JSON line


def measured(start: float, cpu: float, n: int) -> dict[str, float]:
    """Return what `n` requests took since `start` (wall) and `cpu` (of this process), both in seconds."""
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    return {"per_second": n / wall, "cpu_ms": used / n * 1000, "wall": wall}


def ask_bare(url: str, n: int, concurrency: int) -> dict[str, float]:
    """A plain loop over AsyncOpenAI with so many workers; keeps nothing."""
    from openai import AsyncOpenAI

    async def ask_all(client: AsyncOpenAI, numbers: Iterator[int]) -> None:
        for number in numbers:
            reply = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": PROMPT.format(number)}], max_tokens=512, temperature=0.7, seed=0
            )
            assert reply.choices[0].message.content

    async def run() -> dict[str, float]:
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            warm = iter(range(WARM_UP))
            await asyncio.gather(*(ask_all(client, warm) for _ in range(concurrency)))
            numbers, start, cpu = iter(range(n)), time.perf_counter(), time.process_time()
            await asyncio.gather(*(ask_all(client, numbers) for _ in range(concurrency)))
            return measured(start, cpu, n)

    return asyncio.run(run())


def metered_of(url: str, folder: str, concurrency: int) -> Any:
    """Return a metered teacher with caps on a ledger in `folder`."""
    from curate.calls.client import MeteredTeacher
    from curate.ledger.ledger import Ledger
    from curate.ledger.records import Caps
    from curate.teachers.openai import OpenAITeacher
    from curate.teachers.prices import Price

    teacher = OpenAITeacher(url, model="m", concurrency=concurrency, price=Price(0.15, 0.60))
    return MeteredTeacher(teacher, Ledger(Path(folder) / "ledger.sqlite"), "math", Caps(10**9, 10**12, 10**6), "balance", 0)


def requests_of(numbers: range) -> list[Any]:
    from curate.teachers.base import Request

    return [Request("rationale", [{"role": "user", "content": PROMPT.format(n)}], domain="d", max_tokens=512) for n in numbers]


def ask_ours(url: str, n: int, concurrency: int) -> dict[str, float]:
    """`MeteredTeacher.ask`, everything on; the time of opening connections anew in the second asking counts."""
    with tempfile.TemporaryDirectory() as folder:
        metered = metered_of(url, folder, concurrency)
        metered.ask(requests_of(range(n, n + WARM_UP)))
        start, cpu = time.perf_counter(), time.process_time()
        replies = metered.ask(requests_of(range(n)))
        figures = measured(start, cpu, n)
        assert all(reply.status == "answered" and not reply.cached for reply in replies)
        return figures


def ask_curator(url: str, n: int, concurrency: int) -> dict[str, float]:
    """curator's LLM over a list of prompts, its openai backend, no limits; its viewer and telemetry are off."""
    os.environ |= {
        "TELEMETRY_ENABLED": "false",
        "CURATOR_VIEWER": "0",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "OPENAI_API_KEY": "none",
    }
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"CURATOR_CACHE_DIR": folder, "HF_HOME": folder}
        litellm = importlib.util.find_spec("litellm")  # which brings the table that tiktoken would download
        os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")
        from bespokelabs import curator

        limits = {"max_concurrent_requests": concurrency, "max_requests_per_minute": 10**7, "max_tokens_per_minute": 10**12}
        llm = curator.LLM(
            model_name="m",
            backend="openai",
            generation_params={"max_tokens": 512, "temperature": 0.7, "seed": 0},
            backend_params={"base_url": url, **limits},
        )
        llm([PROMPT.format(number) for number in range(n, n + WARM_UP)])
        start, cpu = time.perf_counter(), time.process_time()
        told = llm([PROMPT.format(number) for number in range(n)])
        figures = measured(start, cpu, n)
        assert len(told.dataset) == n
        return figures


def ask_many(url: str, n: int, concurrency: int) -> dict[str, Any]:
    """Ours in blocks of 10,000, each with its processor time and the memory after it."""
    blocks = []
    with tempfile.TemporaryDirectory() as folder:
        metered = metered_of(url, folder, concurrency)
        for begin in range(0, n, 10_000):
            size = min(10_000, n - begin)
            requests, start, cpu = requests_of(range(begin, begin + size)), time.perf_counter(), time.process_time()
            metered.ask(requests)
            status = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
            now = next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)
            blocks.append({**measured(start, cpu, size), "rss_mib": now})
    return {"blocks": blocks, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def read_back(url: str, n: int, concurrency: int) -> dict[str, float]:
    """All of `n` replies from the ledger; written there straight, and read by a new metered teacher."""
    from curate.ledger.records import Caps
    from curate.teachers.base import RawResponse, Usage

    with tempfile.TemporaryDirectory() as folder:
        account, requests = metered_of(url, folder, concurrency).account, requests_of(range(n))
        with account.ledger.transaction():
            for number, request in enumerate(requests):
                reservation = account.ledger.reserve(account.call_spec(request), account.bound(request), Caps(), "[]")
                account.ledger.record(reservation.attempt, RawResponse.of(REPLY.format(number), usage=Usage(140, 160)).raw)
                account.ledger.settle(reservation.attempt, Usage(140, 160), 100, "stop")
        metered = metered_of(url, folder, concurrency)
        requests = requests_of(range(n))
        start, cpu = time.perf_counter(), time.process_time()
        replies = metered.ask(requests)
        figures = measured(start, cpu, n)
        assert all(reply.cached for reply in replies)
        return figures


SIDES = {"bare": ask_bare, "ours": ask_ours, "curator": ask_curator, "many": ask_many, "cached": read_back}


# The runner


def turn(python: str, side: str, url: str, n: int, concurrency: int) -> dict[str, Any]:
    """Run one side once in a fresh process and return what it says."""
    command = [python, __file__, "--side", side, "--url", url, "--requests", str(n), "--concurrency", str(concurrency)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Let the sides take turns and print the table."""
    pythons = {"bare AsyncOpenAI": sys.executable, "ours": sys.executable}
    if options.curator_python:
        pythons["curator"] = options.curator_python
    else:
        print("curator is absent: name its interpreter with --curator-python to have it beside us\n")
    sides = {"bare AsyncOpenAI": "bare", "ours": "ours", "curator": "curator"}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
    with serving(options.delay) as url:
        for number in range(options.turns):
            for name in list(pythons)[:: -1 if number % 2 else 1]:
                runs[name].append(turn(pythons[name], sides[name], url, options.requests, options.concurrency))
    ideal = options.concurrency / options.delay if options.delay else float("inf")
    print(f"{options.requests} requests, {options.concurrency} at once, {options.delay * 1000:g} ms each: ideal {ideal:.0f}/s\n")
    print(
        "| side | requests/s, median | least | most | of the ideal | CPU ms per request |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name, told in runs.items():
        rates, cpu = [run["per_second"] for run in told], statistics.median(run["cpu_ms"] for run in told)
        middle = statistics.median(rates)
        print(f"| {name} | {middle:.0f} | {min(rates):.0f} | {max(rates):.0f} | {middle / ideal:.0%} | {cpu:.2f} |")
    for name in list(runs):
        if name != "ours":
            ratios = [a["per_second"] / b["per_second"] for a, b in zip(runs["ours"], runs[name], strict=True)]
            print(f"\nours / {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), turn by turn")
    return {"ideal": ideal, "runs": runs}


def repeat_many(options: argparse.Namespace) -> dict[str, Any]:
    """Ask very often and print each block of 10,000."""
    with serving(0.01) as url:
        told = turn(sys.executable, "many", url, options.many, options.concurrency)
    print(f"{options.many:,} requests in blocks of 10,000, answers after 10 ms\n")
    print("| block | requests/s | CPU ms per request | MiB after it |\n| --- | --- | --- | --- |")
    for number, block in enumerate(told["blocks"]):
        print(f"| {number} | {block['per_second']:.0f} | {block['cpu_ms']:.2f} | {block['rss_mib']:.0f} |")
    print(f"\npeak {told['peak_mib']:.0f} MiB")
    return told


def repeat_cached(options: argparse.Namespace) -> dict[str, Any]:
    """Read answers back and print how fast."""
    runs = [turn(sys.executable, "cached", "http://127.0.0.1:1/v1", options.cached, 16) for _ in range(options.turns)]
    rates = [run["per_second"] for run in runs]
    print(
        f"{options.cached:,} answers at hand: {statistics.median(rates):,.0f}/s ({min(rates):,.0f} to {max(rates):,.0f}), "
        f"{statistics.median(run['cpu_ms'] for run in runs) * 1000:.0f} µs of processor each"
    )
    return {"runs": runs}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="of each turn")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--delay", type=float, default=0.1, help="seconds before the server answers")
    parser.add_argument("--turns", type=int, default=5, help="of each side")
    parser.add_argument("--curator-python", help="interpreter of a venv with bespokelabs-curator")
    parser.add_argument("--many", type=int, help="ask so many instead, in blocks of 10,000")
    parser.add_argument("--cached", type=int, help="read so many answers back instead")
    parser.add_argument("--json", action="store_true", help="print every figure as JSON at the end")
    parser.add_argument("--side", choices=[*SIDES, "serve"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side == "serve":
        asyncio.run(serve(options.delay))
    elif options.side:
        print(json.dumps(SIDES[options.side](options.url, options.requests, options.concurrency)))
    else:
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
            f"openai {version('openai')}\n"
        )
        work = repeat_many if options.many else repeat_cached if options.cached else compare
        figures = work(options)
        if options.json:
            print(json.dumps(figures))


if __name__ == "__main__":
    main()
