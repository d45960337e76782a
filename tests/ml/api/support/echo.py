"""A service that answers with the question's words, for tests of the HTTP surface."""

import json

import trio

from ml.api.service import (
    AnswerRequest,
    Begun,
    ContextExceededError,
    Delta,
    Finished,
    ModelCard,
    ModelUnknownError,
    ServiceBusyError,
    VoucherMissingError,
    VoucherRefusedError,
)

VOUCHER = bytes.fromhex("0badcafe")
SALT = bytes(32)


class EchoService:
    """Model "echo" is free, "paid" wants VOUCHER; some prompts make it fail on purpose."""

    def __init__(self):
        self.asked: list[AnswerRequest] = []
        self.open = 0
        self.closed = trio.Event()
        self.stored = {}

    async def models(self):
        return [ModelCard("echo", 1, "alice"), ModelCard("paid/model", 2, "bob")]

    async def stream_answer(self, request):
        self.asked.append(request)
        if request.model not in ("echo", "paid/model"):
            raise ModelUnknownError(f"The model '{request.model}' does not exist.")
        if request.model == "paid/model" and request.voucher != VOUCHER:
            if request.voucher is None:
                raise VoucherMissingError("This model costs 5 planck. Send a voucher.")
            raise VoucherRefusedError("The voucher covers 4 of 5 planck. Send a larger one.")
        text = request.prompt or request.messages[-1].content
        if text == "busy":
            raise ServiceBusyError("64 answers are waiting. Ask again in a moment.")
        if text == "long":
            raise ContextExceededError("The question is too long.")
        self.open += 1
        try:
            identity = f"a{len(self.asked)}"
            yield Begun(identity)
            words = text.split()
            for at, word in enumerate(words):
                if word == "hang":
                    await trio.sleep_forever()
                if word == "break":
                    raise RuntimeError("broken on purpose")
                yield Delta(word if at == 0 else f" {word}")
            self.stored[identity] = {"receipt": "00" * 32, "top": [{"row": 1, "score": 5}]}
            yield Finished("stop", 3, len(words), self.stored[identity])
        finally:
            self.open -= 1
            self.closed.set()

    async def attribution(self, attribution_id, salt):
        found = self.stored.get(attribution_id)
        return found if salt != SALT else {**found, "answer": "the words"}

    async def channel_receipt(self, channel):
        return b"receipt" if channel == 7 else None


def chat(text, **changes):
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **changes}


def events_of(text):
    """The JSON objects of a server-sent event stream; the last must be [DONE]."""
    lines = [line for line in text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
