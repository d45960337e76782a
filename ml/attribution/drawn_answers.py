"""Drawn answers: are the texts those of the receipt, is the sketch theirs, is the answer the
model's own?

The answer is run through base and adapter once, teacher-forced. At temperature 0 each token must be
the most probable one, or within `GREEDY_MARGIN` of it. With sampling the tokens must not surprise
the model more than its own samples do: the surprisal -log p(token) of a sampled token has the
entropy of the distribution as its mean, so their sum over an answer may exceed the sum of entropies
by `SURPRISE_DEVIATIONS` standard deviations and `SURPRISE_NATS` for single rare tokens. A token
above that slack has a chance below vocabulary x e^-40, so an honest server is not hit in a lifetime
of answers, and a text that another model wrote exceeds it within some dozen tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from ml.attribution.index import QuerySketcher
from ml.attribution.sketch_tolerance import sketches_agree
from ml.train.data import encode_prompt
from runtime.shared.documents import FaultKind
from runtime.shared.receipts import Sampling, ShownText, SignedReceipt, receipt_hash, salted_hash

GREEDY_MARGIN: Final = 0.125
"""In logits. Engine and check differ by less than 1e-3 in float32 (tests measure it); the rest is
room for other processors."""
SURPRISE_DEVIATIONS: Final = 10.0
SURPRISE_NATS: Final = 40.0
WITHHELD_CHARACTERS_MAX: Final = 512
"""Characters that the tokens of an answer may spell beyond its text: a stop text has at most 256,
and it ends within a token."""
MILLI: Final = 1000


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """A model with one adapter that drawn answers are held against."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerFast
    sketcher: QuerySketcher

    def fault(self, signed: SignedReceipt, shown: ShownText) -> FaultKind | None:
        """Return what is wrong with a drawn answer, or None where nothing is."""
        prompt = encode_prompt(shown.question, self.tokenizer)
        if not self._fits(signed, shown, prompt):
            return FaultKind.Text
        again = self.sketcher.sketch(shown.question, shown.answer)
        if not sketches_agree(signed.evidence.phi, again)[0]:
            return FaultKind.Sketch
        if not self._is_own(prompt, shown.tokens, signed.receipt.sampling):
            return FaultKind.Answer
        return None

    def _fits(self, signed: SignedReceipt, shown: ShownText, prompt: list[int]) -> bool:
        """Return whether texts and tokens are those of the receipt, and are all paid for."""
        receipt = signed.receipt
        return (
            shown.receipt == receipt_hash(receipt)
            and salted_hash(shown.salt, shown.question) == signed.voucher.voucher.question
            and salted_hash(shown.salt, shown.answer) == receipt.answer
            and len(prompt) == receipt.tokens_in
            and len(shown.tokens) == receipt.tokens_out
            and self._is_spelled(shown)
        )

    def _is_spelled(self, shown: ShownText) -> bool:
        """Return whether the tokens spell the answer, with no more behind it than a stop text."""
        vocabulary = len(self.tokenizer)
        if any(token >= vocabulary for token in shown.tokens):
            return False
        spelled = str(self.tokenizer.decode(list(shown.tokens), skip_special_tokens=True))
        withheld = len(spelled) - len(shown.answer)
        return spelled.startswith(shown.answer) and withheld <= WITHHELD_CHARACTERS_MAX

    def _is_own(self, prompt: list[int], tokens: tuple[int, ...], sampling: Sampling) -> bool:
        """Return whether the model gives these tokens after a prompt."""
        if not tokens:
            return True
        logits = self.logits(prompt, tokens)  # [answer tokens, vocabulary]
        chosen = torch.tensor(tokens)
        if sampling.temperature_milli == 0:
            return greedy_gap(logits, chosen) <= GREEDY_MARGIN
        return excess_surprise(logits * (MILLI / sampling.temperature_milli), chosen) <= 0

    @torch.no_grad()
    def logits(self, prompt: list[int], tokens: tuple[int, ...]) -> Tensor:
        """Return the logits before each token of an answer [answer tokens, vocabulary]."""
        device = next(self.model.parameters()).device
        ids = torch.tensor([[*prompt, *tokens[:-1]]], device=device)  # [1, prompt + answer - 1]
        output: Tensor = self.model(input_ids=ids).logits[0].float().cpu()
        return output[len(prompt) - 1 :]


def greedy_gap(logits: Tensor, chosen: Tensor) -> float:
    """Return by how much chosen tokens [tokens] fall short of the largest logits, at most."""
    own = logits.gather(1, chosen[:, None])[:, 0]  # [tokens]
    return float((logits.max(dim=1).values - own).max())


def excess_surprise(logits: Tensor, chosen: Tensor) -> float:
    """Return by how many nats chosen tokens surprise the distribution of `logits` beyond what its
    own samples do; at most 0 for those."""
    log_p = torch.log_softmax(logits.double(), dim=1)  # [tokens, vocabulary]
    p = log_p.exp()
    entropy = -(p * log_p).sum(dim=1)  # [tokens]
    variance = (p * log_p.square()).sum(dim=1) - entropy.square()  # [tokens]
    surprisal = -log_p.gather(1, chosen[:, None])[:, 0]  # [tokens]
    spread = float(variance.clamp_min(0).sum().sqrt())
    excess = float((surprisal - entropy).sum())
    return excess - SURPRISE_DEVIATIONS * spread - SURPRISE_NATS
