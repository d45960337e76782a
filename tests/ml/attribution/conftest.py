"""A LoRA model of a few thousand parameters with a byte tokenizer, and some rows."""

import warnings

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ml.adapters.lora import attach_lora
from ml.attribution.gradients import lora_sites
from ml.attribution.index import QuerySketcher, build_index, load_index
from ml.rows.row import Row
from runtime.crypto.hashing import blake2b_256
from runtime.shared.documents import Recipe
from runtime.types.primitives import AccountId

INDEX_SIZE = 1024
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "and", "warm", "stones"]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0, **{letter: at + 1 for at, letter in enumerate(alphabet)}}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>")


@pytest.fixture(scope="session")
def model():
    torch.manual_seed(1)
    configuration = LlamaConfig(
        vocab_size=257,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
    )
    with warnings.catch_warnings():
        # peft asks transformers for a property that it is about to rename.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = attach_lora(LlamaForCausalLM(configuration).float(), Recipe(rank=4))
    for site in lora_sites(adapted):
        torch.nn.init.normal_(site.lora_b, std=0.1)
    return adapted.eval()


@pytest.fixture(scope="session")
def moments(model):
    draws = torch.Generator().manual_seed(2)
    return {
        f"{site.name}.{part}": torch.rand(weight.shape, generator=draws) * 1e-6 + 1e-8
        for site in lora_sites(model)
        for part, weight in (("lora_A", site.lora_a), ("lora_B", site.lora_b))
    }


@pytest.fixture(scope="session")
def rows():
    draws = torch.Generator().manual_seed(3)

    def text(words):
        picks = torch.randint(len(WORDS), (words,), generator=draws).tolist()
        return " ".join(WORDS[pick] for pick in picks)

    return [Row(text(2), text(3 + at % 5)) for at in range(24)]


@pytest.fixture(scope="session")
def contributors(rows):
    return [AccountId(blake2b_256(bytes([at % 3]))) for at in range(len(rows))]


@pytest.fixture(scope="session")
def seed():
    return blake2b_256(b"seed of the tests")


@pytest.fixture(scope="session")
def build(model, tokenizer, rows, contributors, moments, seed):
    """Build the index of the session's rows, with some arguments changed."""
    arguments = {
        "rows": rows,
        "contributors": contributors,
        "moments": moments,
        "seed": seed,
        "sketch_size": INDEX_SIZE,
    }
    return lambda **changes: build_index(model, tokenizer, **(arguments | changes))


@pytest.fixture(scope="session")
def built(build):
    return build()


@pytest.fixture(scope="session")
def index(built):
    indexed, files = built
    return load_index(indexed, files.__getitem__)


@pytest.fixture(scope="session")
def sketcher(model, tokenizer, moments, seed):
    return QuerySketcher(model, tokenizer, moments, seed, INDEX_SIZE)
