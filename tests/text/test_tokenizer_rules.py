"""Where transformers differs from google-research/bert: each difference by name, against the `tokenizers` library."""

import itertools

import pytest
import tokenizers
from tokenizers import normalizers

from bert_tf.core.errors import InputError
from bert_tf.text.vocabulary import SPECIAL_TOKENS
from bert_tf.text.wordpiece import Tokenizer


def tokens_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[str]]:
    return [[tokenizer.vocabulary.tokens[i] for i in row] for row in tokenizer.tokenize(texts).to_list()]


class TestWhereTransformersDiffersFromGoogle:
    def test_maximum_word_length(self):
        word = "a" * 150
        vocabulary = [*SPECIAL_TOKENS, "a", "##a"]
        assert tokens_of(Tokenizer(vocabulary), [word]) == [["[UNK]"]]  # transformers: 100
        assert tokens_of(Tokenizer(vocabulary, max_word_length=200), [word]) == [["a"] + ["##a"] * 149]

    @pytest.mark.parametrize("longest", [1, 33, 34, 1000, 10_000])
    @pytest.mark.parametrize("lower_case", [True, False])
    def test_any_maximum_is_exact_and_fast(self, longest, lower_case):
        tokenizer = Tokenizer([*SPECIAL_TOKENS, "a", "##a"], lower_case=lower_case, max_word_length=longest)
        lengths = [len(row) for row in tokens_of(tokenizer, ["a" * longest, "a" * (longest + 1), "a" * 1_000_000])]
        assert lengths == [longest, 1, 1]

    def test_ideographs_that_stay_in_their_words_count(self):
        vocabulary = [*SPECIAL_TOKENS, "a", "##a", "##\U0002b820"]
        tokenizer = Tokenizer(vocabulary, rules="huggingface")
        lengths = [len(row) for row in tokens_of(tokenizer, ["a\U0002b820" * 50, "a\U0002b820" * 50 + "a"])]
        assert lengths == [100, 1]

    def test_their_stand_ins_are_no_tokens(self):
        vocabulary = [*SPECIAL_TOKENS, "a", "\U0010f800"]
        assert tokens_of(Tokenizer(vocabulary, rules="huggingface"), ["\U0002b820", "\U0010f800"]) == [["[UNK]"], []]

    def test_odd_budgets(self, vocabulary):
        texts = ["cat " * n for n in range(1, 12)]
        firsts, seconds = zip(*itertools.product(texts, repeat=2), strict=True)
        peer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary.ids, unk_token="[UNK]"))
        peer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        peer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        for length in (8, 9, 14, 15):
            peer.enable_truncation(length, strategy="longest_first")
            packed = Tokenizer(vocabulary, rules="huggingface").pack(firsts, seconds, max_seq_length=length)
            for first, second, types, mask in zip(
                firsts, seconds, packed["input_type_ids"].numpy(), packed["input_mask"].numpy(), strict=True
            ):
                assert peer.encode(first, second).type_ids == types[mask == 1].tolist()

    def test_the_length_counts_characters_not_bytes(self):
        vocabulary = [*SPECIAL_TOKENS, "я", "##я"]
        assert tokens_of(Tokenizer(vocabulary), ["я" * 100, "я" * 101]) == [["я"] + ["##я"] * 99, ["[UNK]"]]

    @pytest.mark.parametrize(
        ("text", "google", "huggingface"),
        [
            ("ΑΣ", ["α", "##ς"], ["α", "##σ"]),
            ("a\ue000b", ["[UNK]"], ["a", "##b"]),
            ("a\U0002b820b", ["a", "\U0002b820", "b"], ["a", "##\U0002b820", "##b"]),
        ],
        ids=["final sigma", "private use", "extension E"],
    )
    def test_rules(self, text, google, huggingface):
        pieces = ["a", "b", "α", "ς", "σ", "\U0002b820"]
        vocabulary = [*SPECIAL_TOKENS, *pieces, *(f"##{piece}" for piece in pieces)]
        assert tokens_of(Tokenizer(vocabulary), [text]) == [google]
        assert tokens_of(Tokenizer(vocabulary, rules="huggingface"), [text]) == [huggingface]
        peer = normalizers.BertNormalizer().normalize_str(text).split()
        assert peer == ["".join(token.removeprefix("##") for token in huggingface)]

    def test_unknown_rules_are_refused(self):
        with pytest.raises(InputError, match="google, huggingface. Received: 'bert'"):
            Tokenizer([*SPECIAL_TOKENS], rules="bert")
