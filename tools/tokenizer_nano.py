"""nano's tokenizer: byte-level BPE in which a digit, and every piece that the grammar makes, is one token."""

from typing import TYPE_CHECKING

from braidcheck.golden import grammar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
END = "<|endoftext|>"


def build(documents: int = 2000) -> "PreTrainedTokenizerFast":
    """The tokenizer, trained on the first `documents` of the train split; each text gets a leading END.

    Any UTF-8 text survives the round trip, since all 256 bytes are tokens. What the merges leave of the
    VOCABULARY is filled with reserved tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(grammar.PIECE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator((grammar.document(seed, "train").text for seed in range(documents)), trainer)
    bpe.add_special_tokens([f"<|reserved_{number}|>" for number in range(VOCABULARY - bpe.get_vocab_size())])
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, bpe.token_to_id(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=END, eos_token=END, pad_token=END, model_max_length=4096
    )
