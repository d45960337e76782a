"""The official openai client, unmodified, against the surface on a real server."""

import warnings

import pytest
import trio

from ml.api.app import create_app
from tests.ml.api.support.echo import VOUCHER, EchoService

openai = pytest.importorskip("openai", reason="the openai package is not installed")
hypercorn_trio = pytest.importorskip("hypercorn.trio", reason="hypercorn is not installed")

from hypercorn.config import Config  # noqa: E402


def with_client(use):
    """Serve on a free port of this machine and run `use(client)` on a thread."""

    async def run():
        settings = Config()
        settings.bind = ["127.0.0.1:0"]
        settings.errorlog = None
        done = trio.Event()
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                (address,) = await nursery.start(
                    lambda task_status: hypercorn_trio.serve(
                        create_app(EchoService()),
                        settings,
                        shutdown_trigger=done.wait,
                        task_status=task_status,
                    )
                )
                try:
                    await trio.to_thread.run_sync(_use, use, address)
                finally:
                    done.set()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        trio.run(run)


def _use(use, address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        use(client)


def test_the_official_client_lists_asks_streams_and_reads_errors():
    def use(client):
        assert [model.id for model in client.models.list()] == ["echo", "paid/model"]
        turn = [{"role": "user", "content": "one two"}]
        answer = client.chat.completions.create(model="echo", messages=turn, seed=1)
        assert answer.choices[0].message.content == "one two"
        assert answer.attribution["top"]
        chunks = list(
            client.chat.completions.create(
                model="echo", messages=turn, stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "one two"
        assert chunks[-1].usage.total_tokens == 5
        assert chunks[-1].attribution["top"]
        plain = client.completions.create(model="echo", prompt="one two")
        assert plain.choices[0].text == "one two"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="none", messages=turn)
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(model="paid/model", messages=turn)
        assert refused.value.status_code == 402
        paid = client.chat.completions.create(
            model="paid/model",
            messages=turn,
            extra_headers={"x-openledger-voucher": VOUCHER.hex()},
        )
        assert paid.choices[0].message.content == "one two"

    with_client(use)
