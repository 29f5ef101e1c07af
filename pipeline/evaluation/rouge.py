"""ROUGE-L by two ways to split a text into words: the papers' own, and one for every script.

The papers on distillation use Google's `rouge-score`, whose words are runs of a-z and 0-9, stemmed;
everything else is dropped, so that a Russian answer that equals its reference scores 0. The second
way takes Unicode's letters, marks and digits; it splits scripts that write no spaces into their
characters, keeps signs (emoji, mathematics, currencies) as words, and stems what the papers stem.
On English text without such signs both give the same number.

C.-Y. Lin, 2004. ROUGE: A Package for Automatic Evaluation of Summaries.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

import regex
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize

from pipeline.data.scripts import SPACELESS

LOST = 0.01  # share of the letters and digits of references from which on both ways are shown
SPACED = rf"[\p{{L}}\p{{M}}\p{{N}}--{SPACELESS}]"
WORD = regex.compile(rf"{SPACELESS}\p{{M}}*|{SPACED}+|\p{{S}}", regex.V1)
ALPHANUMERIC = regex.compile(r"[\p{L}\p{N}]")
SHORTEST_STEMMED = 4  # characters, as `rouge-score` has it
STEMS = 2**16  # words whose stems are kept


class Stemmer:
    """Porter's stemmer, which takes longer than all else: a word is stemmed once, and kept."""

    def __init__(self) -> None:
        self.stem = lru_cache(STEMS)(PorterStemmer().stem)


class PapersWords:
    """The tokenizer of `RougeScorer` itself."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return tokenize(text, STEMMER)


class UnicodeWords:
    """A tokenizer for `RougeScorer` that knows the words of every script."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text in Unicode's compatibility form, case folded."""
        words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        return [
            STEMMER.stem(word) if word.isascii() and len(word) >= SHORTEST_STEMMED else word
            for word in words
        ]


STEMMER = Stemmer()
WORDS = UnicodeWords()
PAPERS = RougeScorer(["rougeL"], tokenizer=PapersWords())
UNICODE = RougeScorer(["rougeL"], tokenizer=WORDS)


def rouge_l(output: str, references: Sequence[str]) -> float:
    """ROUGE-L of a response as the papers compute it, 0 to 100, the best over the references."""
    return _best(PAPERS, output, references)


def rouge_l_unicode(output: str, references: Sequence[str]) -> float:
    """ROUGE-L over Unicode's words, 0 to 100, the best over the references.

    A reference without any word (punctuation alone) is matched by an equal response only.
    """
    wordless = [reference for reference in references if not WORDS.tokenize(reference)]
    if any(reference.strip() == output.strip() for reference in wordless):
        return 100.0
    return _best(UNICODE, output, references)


def _best(scorer: RougeScorer, output: str, references: Sequence[str]) -> float:
    scores = (scorer.score(reference, output)["rougeL"].fmeasure for reference in references)
    return 100 * max(scores)


def kinds_for(references: Iterable[str]) -> tuple[str, ...]:
    """The ways that mean something, by the letters and digits that the papers' tokenizer keeps."""
    characters = [char for text in references for char in ALPHANUMERIC.findall(text)]
    kept = sum(char.isascii() for char in characters)
    if not kept:
        return ("rouge_l_unicode",)
    is_whole = len(characters) - kept < LOST * len(characters)
    return ("rouge_l",) if is_whole else ("rouge_l", "rouge_l_unicode")
