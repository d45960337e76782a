"""Drawn answers: are the texts those of the receipt, is the sketch theirs, is the answer the
model's own?

The answer is run through base and adapter once, teacher-forced, and the choice of each token is
repeated as the voucher says (ml/base/sampling.py). Where the check chooses another token, the one
of the answer must come within `SCORE_MARGIN` of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ml.attribution.index import QuerySketcher
from ml.attribution.sketch_tolerance import SketchComparison
from ml.base.characters import UNFINISHED
from ml.base.limits import context_tokens
from ml.base.sampling import score_gap
from ml.train.data import encode_prompt
from runtime.shared.documents import FaultKind
from runtime.shared.receipts import Sampling, ShownText, SignedReceipt, receipt_hash, salted_hash

SCORE_MARGIN: Final = 0.125
"""In logits. Engine and check differ by less than 1e-3 in float32 (tests measure it); the rest is
room for other processors."""
WITHHELD_CHARACTERS_MAX: Final = 512
"""Characters that the tokens of an answer may spell beyond its text: a stop text has at most 256,
and it ends within a token. Parts of characters do not count: any number of them is held back until
it is known that they make no whole one."""


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """A model with one adapter that drawn answers are held against."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerFast
    sketcher: QuerySketcher
    longest_token_bytes: int
    """Of the tokenizer, found once: it takes a walk over the vocabulary."""
    comparison: SketchComparison
    """Of this model's sketches, and of those of others that are judged with them."""

    def fault(self, signed: SignedReceipt, shown: ShownText) -> FaultKind | None:
        """Return what is wrong with a drawn answer, or None where nothing is."""
        if not self._is_readable(shown):
            return FaultKind.Text
        prompt = encode_prompt(shown.question, self.tokenizer)
        if not self._fits(signed, shown, prompt):
            return FaultKind.Text
        again = self.sketcher.sketch(shown.question, shown.answer)
        if not self.comparison.agrees(signed.evidence.phi, again):
            return FaultKind.Sketch
        if not self._is_own(prompt, shown.tokens, signed.voucher.voucher.sampling):
            return FaultKind.Answer
        return None

    def _is_readable(self, shown: ShownText) -> bool:
        """Return whether the texts are of a size that a model reads. No server answers another
        question, and tokenizing megabytes would hold the executor up."""
        longest = self.longest_token_bytes * self.context_tokens
        return 0 < len(shown.question.encode()) <= longest >= len(shown.answer.encode())

    @property
    def context_tokens(self) -> int:
        """How many tokens the model reads at once."""
        return context_tokens(self.model.config)

    def _fits(self, signed: SignedReceipt, shown: ShownText, prompt: list[int]) -> bool:
        """Return whether texts and tokens are those of the receipt, and are all paid for."""
        receipt = signed.receipt
        return (
            shown.receipt == receipt_hash(receipt)
            and salted_hash(shown.salt, shown.question) == signed.voucher.voucher.question
            and salted_hash(shown.salt, shown.answer) == receipt.answer
            and len(prompt) == receipt.tokens_in
            and len(shown.tokens) == receipt.tokens_out
            and len(prompt) + len(shown.tokens) <= self.context_tokens
            and self._is_spelled(shown)
        )

    def _is_spelled(self, shown: ShownText) -> bool:
        """Return whether the tokens spell the answer, with no more behind it than a stop text."""
        vocabulary = len(self.tokenizer)
        if any(token >= vocabulary for token in shown.tokens):
            return False
        spelled = str(self.tokenizer.decode(list(shown.tokens), skip_special_tokens=True))
        withheld = spelled[len(shown.answer) :].replace(UNFINISHED, "")
        return spelled.startswith(shown.answer) and len(withheld) <= WITHHELD_CHARACTERS_MAX

    def _is_own(self, prompt: list[int], tokens: tuple[int, ...], sampling: Sampling) -> bool:
        """Return whether the model gives these tokens after a prompt."""
        if not tokens:
            return True
        # [answer tokens, vocabulary], of the model's rows those that the tokenizer spells
        logits = self.logits(prompt, tokens)[:, : len(self.tokenizer)]
        return score_gap(logits, torch.tensor(tokens), sampling) <= SCORE_MARGIN

    @torch.no_grad()
    def logits(self, prompt: list[int], tokens: tuple[int, ...]) -> Tensor:
        """Return the logits before each token of an answer [answer tokens, vocabulary]."""
        device = next(self.model.parameters()).device
        ids = torch.tensor([[*prompt, *tokens[:-1]]], device=device)  # [1, prompt + answer - 1]
        # Those of a long question would take gigabytes, and are not looked at.
        output: Tensor = self.model(input_ids=ids, logits_to_keep=len(tokens)).logits
        return output[0].float().cpu()
