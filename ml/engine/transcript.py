"""One answer as text: tokens in, readable pieces out.

Text is returned only up to the last whole character, and never beyond the beginning of a stop
text, so the streamed pieces are exactly the answer. The stop token and a stop text are not part of
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.base.characters import UNFINISHED
from ml.engine.interface import FinishReason, TokenEvent

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Transcript:
    """The text of one answer so far."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, question: str, stops: tuple[str, ...]
    ) -> None:
        """Encode the question with the chat template."""
        from ml.train.data import encode_prompt

        self._tokenizer = tokenizer
        self._stops = stops
        self._tokens: list[int] = []
        self._sent = 0
        self._sent_tokens = 0
        self.question = question
        self.prompt_tokens = tuple(encode_prompt(question, tokenizer))
        end = tokenizer.eos_token_id
        self.stop_tokens: tuple[int, ...] = () if end is None else (int(end),)
        self.vocabulary = len(tokenizer)
        self.text = ""
        self.reason = FinishReason.LENGTH
        self.is_stopped = False

    @property
    def answer_tokens(self) -> tuple[int, ...]:
        """The tokens of the answer, the stop token left out."""
        return tuple(self._tokens)

    def add(self, event: TokenEvent) -> str:
        """Append a token; return the text that has become certain."""
        if event.finish_reason is not None:
            self.reason = event.finish_reason
        if event.finish_reason in (FinishReason.STOP, FinishReason.ABORTED):
            return ""
        self._tokens.append(event.token)
        # All tokens again and not only the new one: a character may span several tokens.
        self.text = str(self._tokenizer.decode(self._tokens, skip_special_tokens=True))
        # Half a character is decoded like a character of its own, so that it could be a stop text.
        self._stop_within(len(self.text.rstrip(UNFINISHED)))
        return self._unsent_until(self._certain_length())

    def finish(self) -> str:
        """Return the rest of the text, which no token can change any more."""
        if not self.is_stopped:
            self._stop_within(len(self.text))
        return self._unsent_until(len(self.text))

    def cut(self) -> bool:
        """End the answer with the text that was returned; False where that is nothing.

        The tokens behind text that was withheld do not count.
        """
        self.text = self.text[: self._sent]
        del self._tokens[self._sent_tokens :]
        self.is_stopped = True
        return bool(self.text)

    def _stop_within(self, end: int) -> None:
        """End the answer at the first stop text that lies in the text up to `end`."""
        positions = [at for stop in self._stops if (at := self.text.find(stop, 0, end)) >= 0]
        if positions:
            self.text = self.text[: min(positions)]
            self.is_stopped = True
            self.reason = FinishReason.STOP

    def _certain_length(self) -> int:
        """Return the length of the text that no later token can change or remove."""
        if self.is_stopped:
            return len(self.text)
        end = len(self.text.rstrip(UNFINISHED))
        # No more than what a stop text may begin with: who names a long one would else be sent
        # nothing while the answer is made, and owe nothing.
        certain = self.text[:end]
        return end - max((_begun(stop, certain) for stop in self._stops), default=0)

    def _unsent_until(self, end: int) -> str:
        piece = self.text[self._sent : end]
        if piece:
            self._sent_tokens = len(self._tokens)
        self._sent = max(self._sent, end)
        return piece


def _begun(stop: str, text: str) -> int:
    """Return the length of the longest beginning of a stop text that a text ends with."""
    longest = min(len(stop) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
