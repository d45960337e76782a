"""One answer as text: tokens come in, readable pieces go out.

Text is handed on only up to the last whole character, and never beyond the beginning of a stop
text, so what was streamed is exactly the answer. The stop token and a stop text are not part of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ml.engine.interface import FinishReason, TokenEvent

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

UNFINISHED: Final = "\ufffd"
"""What a tokenizer shows for the first bytes of a character that is not complete."""


class Transcript:
    """Collects an answer."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, question: str, stops: tuple[str, ...] = ()
    ) -> None:
        """Frame the question in the chat template."""
        from ml.train.data import encode_prompt

        self._tokenizer = tokenizer
        self._stops = stops
        self._tokens: list[int] = []
        self._sent = 0
        self.question = question
        self.prompt_tokens = tuple(encode_prompt(question, tokenizer))
        end = tokenizer.eos_token_id
        self.stop_tokens: tuple[int, ...] = () if end is None else (int(end),)
        self.text = ""
        self.reason = FinishReason.LENGTH
        self.is_stopped = False

    @property
    def answer_tokens(self) -> tuple[int, ...]:
        """The tokens of the answer, the stop token left out."""
        return tuple(self._tokens)

    def add(self, event: TokenEvent) -> str:
        """Take a token; return the text that is certain now."""
        if event.finish_reason is not None:
            self.reason = event.finish_reason
        if event.finish_reason in (FinishReason.STOP, FinishReason.ABORTED):
            return ""
        self._tokens.append(event.token)
        self.text = str(self._tokenizer.decode(self._tokens, skip_special_tokens=True))
        found = [at for stop in self._stops if (at := self.text.find(stop)) >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.is_stopped = True
            self.reason = FinishReason.STOP
        return self._until(self._certain())

    def finish(self) -> str:
        """Return what was held back at the end."""
        return self._until(len(self.text))

    def _certain(self) -> int:
        """How much of the text no later token can change or take back."""
        if self.is_stopped:
            return len(self.text)
        end = len(self.text.rstrip(UNFINISHED))
        held = max((len(stop) - 1 for stop in self._stops), default=0)
        return max(end - held, 0)

    def _until(self, end: int) -> str:
        piece = self.text[self._sent : end]
        self._sent = max(self._sent, end)
        return piece
