"""Sentence pairs from the transcript and translation of lectures: same order, no sentence boundaries marked.

The English is cut into segments at possible sentence starts, and a monotone search (bitext.search) gives each segment
its stretch of the transcript, at the places that a coarse search over the whole texts (bitext.places) leaves open. Word
translations, length ratio and boundary odds are learned over all lectures from the pairs of the round before; the first
round starts from a dictionary, terms that both sides share and pauses, and the last ones learn from sure
pairs alone.

T transcript tokens, K English segments.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lhotse_prep.bitext.boundaries import (
    BoundaryModel,
    cohesion,
    first_word_odds,
    transcript_features,
    translation_features,
)
from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.dictionary import Dictionary
from lhotse_prep.bitext.margins import margins
from lhotse_prep.bitext.places import band_of_places, cut_into_blocks
from lhotse_prep.bitext.search import Band, LectureUnits, LengthPrior, search
from lhotse_prep.bitext.sentence_starts import first_segment_odds, segment_starts, starter_odds
from lhotse_prep.bitext.word_table import WordTable
from lhotse_prep.workflow.errors import DataError

PLACE_ROUNDS = 3  # first rounds, in which the places to search are chosen
SURE_ROUNDS = 3  # last rounds, which have margins; between them the word table learns from sure pairs alone
TRAIN_MARGIN = 2.0  # nats; a pair with at least this margin is sure
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LectureText:
    """The texts of one lecture; raises DataError if one of them is empty."""

    id: str
    tokens: list[str]  # of the transcript
    words: list[str]  # of the translation
    pauses: list[float | None] | None = None  # seconds of silence before each token, None where unknown

    def __post_init__(self) -> None:
        if not self.tokens or not self.words:
            side = "transcript" if not self.tokens else "translation"
            raise DataError(f"lecture {self.id}: its {side} is empty; add it or leave the lecture out")


@dataclass(frozen=True)
class Pair:
    """A stretch of the transcript and the words that translate it; one of the two may be empty."""

    first_token: int
    num_tokens: int
    first_word: int
    num_words: int
    score: float  # mean log-likelihood ratio over chance, nats per unit; -inf if a side is empty
    margin: float = 0.0  # how much worse the best other place is, in nats; 0 if a side is empty


@dataclass
class _State:
    """A lecture during the search; a bead is (first segment, end segment, first token, end token)."""

    text: LectureText
    starts: np.ndarray  # (K + 1,), index of each segment's first word; the last is the number of words
    source: tuple[np.ndarray, np.ndarray]  # unit ids of the tokens, and where each token's units start
    target: tuple[np.ndarray, np.ndarray]  # the same for the words
    token_odds: np.ndarray  # (T + 1,), log-odds of a sentence boundary before each token
    segment_odds: np.ndarray  # (K + 1,), the same before each segment
    band: Band = field(default_factory=lambda: Band(np.zeros(0), np.zeros(0)))  # what is searched
    beads: list[tuple[int, int, int, int]] = field(default_factory=list)
    margins: np.ndarray = field(default_factory=lambda: np.zeros(0))  # of each bead, from `margins`

    def unit_pair(self, bead: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The unit ids of both sides of a bead."""
        k0, k1, i, j = bead
        source, source_starts = self.source
        target, target_starts = self.target
        first_unit, end_unit = target_starts[self.starts[k0]], target_starts[self.starts[k1]]
        return source[source_starts[i] : source_starts[j]], target[first_unit:end_unit]


def make_pairs(lectures: Sequence[LectureText], config: BitextConfig) -> dict[str, list[Pair]]:
    """{lecture id: its pairs in order}; every token and every word of a lecture is in exactly one of its pairs."""
    dictionary = Dictionary(x.tokens for x in lectures) if config.dictionary_weight > 0 else None
    table = WordTable([x.tokens for x in lectures], [x.words for x in lectures], dictionary, config.dictionary_weight)
    cohesions = cohesion([x.tokens for x in lectures])
    starters = starter_odds([x.words for x in lectures])
    states = [_first_state(x, table, c, starters) for x, c in zip(lectures, cohesions)]
    total_tokens = sum(len(x.tokens) for x in lectures)
    prior = LengthPrior(total_tokens / sum(len(x.words) for x in lectures), 3.0)
    token_model = BoundaryModel(
        row
        for x, c in zip(lectures, cohesions)
        for row in transcript_features(x.tokens, table.words(x.tokens), x.pauses, c)
    )
    word_model = BoundaryModel(r for s in states for r in translation_features(s.text.words, s.starts[:-1].tolist()))
    table.train(_proportional_pairs(states), 3, config.discount)
    for number in range(config.num_rounds):
        for state in states:
            if number < PLACE_ROUNDS:
                blocks = cut_into_blocks(state.source, state.target, table.probs, table.unigram)
                state.band = band_of_places(blocks, state.starts)
            _search(state, table, prior, with_margins=number + SURE_ROUNDS >= config.num_rounds)
        if number + 1 < config.num_rounds:
            prior = _fit_lengths(states, prior)
            _fit_boundaries(states, token_model, word_model)
            table.train([s.unit_pair(b) for s in states for b in _reliable(s)], 2, config.discount)
    return {s.text.id: [_scored(s, n, table) for n in range(len(s.beads))] for s in states}


def _first_state(text: LectureText, table: WordTable, token_cohesion: np.ndarray, starters: dict[str, float]) -> _State:
    starts = np.array([*segment_starts(text.words), len(text.words)])
    segment_odds = first_segment_odds(text.words, starts, starters)
    token_odds = _first_token_odds(text, token_cohesion, num_sentences=1 + int((segment_odds > 0).sum()))
    token_odds += first_word_odds(table.words(text.tokens), len(text.tokens))
    source, target = table.encode_source(text.tokens), table.encode_target(text.words)
    return _State(text, starts, source, target, token_odds, segment_odds)


def _first_token_odds(text: LectureText, token_cohesion: np.ndarray, num_sentences: int) -> np.ndarray:
    """(T + 1,) log-odds of a boundary before each token: high at the longest pauses, low inside words."""
    rate = min(0.5, num_sentences / len(text.tokens))
    odds = np.append(np.log(rate / (1 - rate)) - 0.25 * token_cohesion, 0.0)
    known = [(pause, i) for i, pause in enumerate(text.pauses or []) if pause is not None]
    for rank, (_, i) in enumerate(sorted(known, reverse=True)):
        odds[i] += 4.0 if rank < 0.8 * num_sentences else 1.5 if rank < 1.3 * num_sentences else -1.0
    odds[0] = 0.0
    return odds


def _proportional_pairs(states: Sequence[_State], block: int = 30) -> list[tuple[np.ndarray, np.ndarray]]:
    """First training data: unit ids of each `block` words, with those of the tokens at the same relative position."""
    pairs = []
    for state in states:
        source, source_starts = state.source
        target, target_starts = state.target
        num_tokens, num_words = len(state.text.tokens), len(state.text.words)
        for w in range(0, num_words, block):
            i = w * num_tokens // num_words
            j = min(num_tokens, (w + block) * num_tokens // num_words)
            end = min(num_words, w + block)
            pairs.append((source[source_starts[i] : source_starts[j]], target[target_starts[w] : target_starts[end]]))
    return pairs


def _reliable(state: _State) -> list[tuple[int, int, int, int]]:
    """The beads that the word table learns from: all, or those with a margin if margins are known."""
    if not len(state.margins):
        return state.beads
    return [bead for bead, margin in zip(state.beads, state.margins) if margin >= TRAIN_MARGIN]


def _search(state: _State, table: WordTable, prior: LengthPrior, with_margins: bool) -> None:
    """Set the beads of a lecture, and their margins."""
    source, source_starts = state.source
    target, target_starts = state.target
    lecture = LectureUnits(
        source,
        source_starts,
        target,
        target_starts[state.starts],
        np.diff(state.starts),
        table.probs,
        table.unigram,
        state.token_odds,
        state.segment_odds,
    )
    state.beads, cells = search(lecture, prior, state.band)
    if with_margins:
        state.margins = margins(lecture, prior, state.band, state.beads, cells)


def _fit_lengths(states: Sequence[_State], prior: LengthPrior) -> LengthPrior:
    """Ratio and spread of the lengths of all pairs; the spread comes from the median, which outliers do not move."""
    sizes = np.array(
        [(s.starts[b[1]] - s.starts[b[0]], b[3] - b[2]) for s in states for b in s.beads if b[0] < b[1] and b[2] < b[3]]
    )
    if len(sizes) < 10:
        return prior
    ratio = sizes[:, 1].sum() / sizes[:, 0].sum()
    mean = ratio * sizes[:, 0]
    spread = np.median((sizes[:, 1] - mean) ** 2 / mean) / 0.455
    return LengthPrior(float(ratio), float(np.clip(spread, 0.3, 5.0)))


def _fit_boundaries(states: Sequence[_State], token_model: BoundaryModel, word_model: BoundaryModel) -> None:
    """Fit both models to the boundaries of the current pairs, and set each lecture's log-odds from them."""
    token_labels, word_labels = [], []
    for state in states:
        tokens = np.zeros(len(state.text.tokens))
        words = np.zeros(len(state.starts) - 1)
        tokens[[b[2] for b in state.beads if b[2] < len(tokens)]] = 1
        words[[b[0] for b in state.beads if b[0] < len(words)]] = 1
        tokens[0] = words[0] = np.nan
        token_labels.append(tokens)
        word_labels.append(words)
    token_odds = token_model.fit(np.concatenate(token_labels))
    word_odds = word_model.fit(np.concatenate(word_labels))
    at_token = at_word = 0
    for state in states:
        num_tokens, num_segments = len(state.text.tokens), len(state.starts) - 1
        state.token_odds = np.append(np.clip(token_odds[at_token : at_token + num_tokens], -8, 8), 0.0)
        state.segment_odds = np.append(np.clip(word_odds[at_word : at_word + num_segments], -8, 8), 0.0)
        state.token_odds[0] = state.segment_odds[0] = 0.0
        at_token, at_word = at_token + num_tokens, at_word + num_segments


def _scored(state: _State, number: int, table: WordTable) -> Pair:
    """The pair of a bead; its score is the mean over source units f of log(0.3 + 0.7 mean_e t(f | e) / u(f))."""
    k0, k1, i, j = bead = state.beads[number]
    source, target = state.unit_pair(bead)
    score = -np.inf
    if len(source) and len(target):
        translated = table.probs[source][:, target].mean(axis=1) / table.unigram[source]
        score = float(np.log(0.3 + 0.7 * translated).mean())
    first_word, end_word = int(state.starts[k0]), int(state.starts[k1])
    return Pair(i, j - i, first_word, end_word - first_word, score, float(state.margins[number]))
