import asyncio
import json

from curate.teachers.base import RawResponse, Request
from curate.teachers.fake import Fake
from curate.teachers.responses import ParsedResponse, parse_response


def ask(teacher: Fake, *requests: Request) -> list[ParsedResponse]:
    async def all_of_them() -> list[ParsedResponse]:
        return [parse_response(answer.raw) async for _, answer in teacher.submit(requests)]

    return asyncio.run(all_of_them())


def rationale(prompt: str, sample: int = 0) -> Request:
    return Request("rationale", [{"role": "user", "content": prompt}], sample=sample, prompt=prompt)


def test_it_answers_as_it_was_told_and_wrong_as_often_as_it_was_told() -> None:
    teacher = Fake({"2 + 2?": "4"}, wrong=1)
    texts = [reading.text.splitlines()[-1] for reading in ask(teacher, *(rationale("2 + 2?", n) for n in range(2)))]
    assert texts == ["The answer is: not 4", "The answer is: 4"]


def test_new_examples_differ_and_end() -> None:
    teacher = Fake(new_examples=3)
    requests = [Request("synthesis", [], sample=n, domain="sums") for n in range(3)]
    prompts = {json.loads(reading.text)["prompt"] for reading in ask(teacher, *requests)}
    assert len(prompts) == teacher.capacity("sums") == 3

    async def last() -> RawResponse:
        (answer,) = [answer async for _, answer in teacher.submit([Request("synthesis", [], sample=3)])]
        return answer

    assert asyncio.run(last()).outcome == "unanswered"


def test_a_script_says_anything_and_sees_how_often_it_was_asked() -> None:
    seen = []

    def script(request: Request, n: int) -> RawResponse | None:
        seen.append(n)
        return RawResponse.of("mine") if n == 1 else None

    teacher = Fake(script=script)
    assert [reading.text for reading in ask(teacher, rationale("q"), rationale("q"))][1] == "mine"
    assert seen == [0, 1]
    assert [request.prompt for request in teacher.sent] == ["q", "q"]
