"""From units to words: CTC prefix beam search (Hannun et al., 2014, arXiv 1408.2873) over the trie of a lexicon.

A hypothesis is a sequence of words and the beginning of another one. Its score is the log-probability of its units,
summed over alignments and over readings of its words, and for each word its log-probability by the language model, as
soon as the word is complete, and a bonus. The beam holds, for each sequence of words, the places in the trie and the
last units that it may be at; of hypotheses that differ only in words further back than the last few, it holds the best.
What the head on tokens adds for a word (see WordsAlike) depends on the frame of its last unit: where alignments of the
same words meet, that of the most probable one stays.

Legend: K hypotheses, T frames, U units with blank (0), V tokens of the language model, W words, C candidates, P places
of words in the trie (a word is at one for each of its readings), S those of them where several words sound alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml2021.asr.fusion.lexicon import Lexicon
from ml2021.asr.fusion.scorer import Scorer, select
from ml2021.asr.search.ctc_greedy import penalised
from ml2021.asr.search.hypothesis import Hypothesis

# columns of floats: log-probs of the alignments that end in a blank and in the last unit; scores of complete words; of
# the units of the incomplete word, the largest log-prob of the last one and the sum of those of the others
_BLANK, _LABEL, _ADDED, _PEAK, _PAST = range(5)
# columns of integers: place in the trie, last unit, hash of the words, number of the record of the last word, frame at
# which the incomplete word began, number of its units, the last three words; of candidates also the hypothesis that it
# was, and its new word or -1
_NODE, _LAST, _HASH, _RECORD, _BEGIN, _NUM, _WORD_1, _WORD_2, _WORD_3, _PARENT, _WORD = range(11)
NEAR = 4  # frames by which the heads on units and on tokens may emit a word apart
FLOOR = -7.0  # log-prob of tokens that are less probable, or that the recogniser does not have
_FLOOR = -30.0  # units with a smaller log-prob are not tried
_MORE = 4  # times the beam, the candidates from which it is chosen
_MULTIPLIER = 6364136223846793005  # of Knuth's MMIX generator; products wrap at 64 bits


class _Words(NamedTuple):
    """What a word adds to a score."""

    first_token: NDArray[np.int64]  # (W,) for the language model
    bonus: NDArray[np.float64]  # (W,)
    column: NDArray[np.int64]  # (P,) of the places of words in the trie: where their evidence is, see WordsAlike


class _Records(NamedTuple):
    """Complete words of hypotheses, as a tree."""

    parent: NDArray[np.int64]  # the record of the word before; -1: none
    word: NDArray[np.int64]
    begin: NDArray[np.int64]  # frames of its first and last unit
    end: NDArray[np.int64]
    num_units: NDArray[np.int64]
    past: NDArray[np.float64]  # as of hypotheses
    peak: NDArray[np.float64]


@dataclass(frozen=True)
class LexiconSearchConfig:
    """Sizes of the search, and what a word adds."""

    beam: int  # hypotheses kept
    word_score: float = 0.0  # added for each word
    lm_scale: float = 0.0  # that fusion has, for words that are the unknown token to it
    token_scale: float = 0.0  # of what the head on tokens says, see WordsAlike
    alike: int = 1  # hypotheses kept that differ only in words before the last three


def lexicon_search(
    log_probs: Tensor,
    lens: Tensor,
    lexicon: Lexicon,
    config: LexiconSearchConfig,
    blank_penalty: float = 0.0,
    fusion: Scorer | None = None,
    token_log_probs: Tensor | None = None,
) -> list[Hypothesis]:
    """
    Args:
      log_probs: of units, (N, T, U).
      lens: (N,).
      lexicon: the words that may be recognised.
      config: sizes of the search.
      blank_penalty: subtracted from the blank's log-probability.
      fusion: scores the tokens of each complete word.
      token_log_probs: of tokens by the CTC head on them, (N, T, V), for config.token_scale.
    Returns:
      One hypothesis per utterance, whose tokens are those of lexicon.table. Tokens of a word are spread evenly over its
      frames; their score is the geometric mean of the probabilities of its units.
    """
    values, num_frames = penalised(log_probs, blank_penalty).double().cpu().numpy(), lens.tolist()
    beam = _LexiconBeam(lexicon, config, fusion)
    hypotheses = []
    for i, count in enumerate(num_frames):
        evidence = np.zeros((count, 0), np.float32)
        if token_log_probs is not None:
            evidence = config.token_scale * beam.alike.evidence(token_log_probs[i, :count])
        hypotheses.append(beam.search(values[i, :count], evidence))
    return hypotheses


class WordsAlike:
    """The words of a lexicon that share their sound with others."""

    def __init__(self, lexicon: Lexicon) -> None:
        counts = np.diff(lexicon.trie.first_word)
        is_alike = np.repeat(counts > 1, counts)
        self.column = np.where(is_alike, np.cumsum(is_alike) - 1, -1)  # (P,) from 0 to S - 1; -1: it has a sound alone
        self._last = np.array([ids[-1] for ids in lexicon.tokens])[lexicon.trie.word[is_alike]]  # (S,) last token
        self._counts = counts[counts > 1]
        self._begins = np.cumsum(self._counts) - self._counts

    def evidence(self, log_probs: Tensor) -> NDArray[np.float32]:
        """How much less probable the last token of each word is than that of the best word of its sound, (T, S).

        The log-prob of a word at a frame is the largest that its last token has within NEAR frames. Values are 0 for
        the most probable word of a sound, and below 0 for the others.

        Args:
          log_probs: of tokens, (T, V); words that the tokens cannot write have numbers from V on.
        """
        if not len(self._last):
            return np.zeros((len(log_probs), 0), np.float32)
        rows = torch.nn.functional.max_pool1d(log_probs.T[None], 2 * NEAR + 1, stride=1, padding=NEAR)[0].T
        has_token = self._last < rows.shape[1]
        values = rows.cpu().float().numpy()[:, np.where(has_token, self._last, 0)]
        values = np.where(has_token, np.maximum(values, FLOOR), FLOOR)
        best = np.repeat(np.maximum.reduceat(values, self._begins, axis=1), self._counts, axis=1)
        evidence: NDArray[np.float32] = (values - best).astype(np.float32)
        return evidence


class _LexiconBeam:
    """The search in one utterance after another."""

    def __init__(self, lexicon: Lexicon, config: LexiconSearchConfig, fusion: Scorer | None) -> None:
        self.lexicon, self.config, self.fusion = lexicon, config, fusion
        longest = max(map(len, lexicon.lm_tokens))
        self.lm_tokens = np.array([[*ids, *[0] * (longest - len(ids))] for ids in lexicon.lm_tokens])  # 0: no token
        self.lengths = np.array([len(ids) for ids in lexicon.lm_tokens])
        shared = -config.lm_scale * math.log(max(1, lexicon.num_others))  # others share the unknown token's probability
        bonus = config.word_score + shared * lexicon.is_other
        self.alike = WordsAlike(lexicon)
        self.words = _Words(self.lm_tokens[:, 0].copy(), bonus.astype(np.float64), self.alike.column)
        trie = lexicon.trie
        words_of_child = np.diff(trie.first_word)[trie.child] + 1
        most = int(np.add.reduceat(words_of_child, trie.first_child[:-1][np.diff(trie.first_child) > 0]).max())
        size = config.beam * (most + 1)
        self.floats, self.integers = np.empty((size, 5)), np.empty((size, 11), np.int64)
        self.slots = np.full(1 << (2 * size).bit_length(), -1, np.int64)  # hash table of candidates

    def search(self, log_probs: NDArray[np.float64], evidence: NDArray[np.float32]) -> Hypothesis:
        """The best hypothesis from log_probs (T, U) and what is added for words alike, (T, S); (T, 0): nothing."""
        self.records = _Records(*np.empty((5, 1024), np.int64), *np.empty((2, 1024)))
        self.num_records = 0
        floats, integers = np.zeros((1, 5)), np.zeros((1, 11), np.int64)
        floats[0, _LABEL], integers[0, _RECORD], integers[0, _WORD_1 : _WORD_3 + 1] = -np.inf, -1, -1
        states = self.fusion.start(1) if self.fusion else ()
        rows = self.fusion.scores(states).float().cpu().numpy() if self.fusion else np.zeros((1, 0), np.float32)
        for t in range(len(log_probs)):
            before, after = (floats, integers, rows), (self.floats, self.integers, self.slots)
            frame = (t, log_probs[t], evidence[t])
            count = _candidates(frame, before, self.lexicon.trie, self.words, self.records, after)
            chosen = _chosen(self.floats[:count], self.integers[:count], self.config.beam, self.config.alike)
            floats, integers = self.floats[chosen], self.integers[chosen]
            parents, new = integers[:, _PARENT], np.flatnonzero(integers[:, _WORD] >= 0)
            if len(new):
                self._record(floats, integers, new, t)
            if self.fusion is not None:
                rows, states = rows[parents], select(states, torch.from_numpy(parents).to(states[0].device))
                if len(new):
                    self._score(self.fusion, floats, integers[new, _WORD], new, states, rows)
        totals = np.logaddexp(floats[:, _BLANK], floats[:, _LABEL]) + floats[:, _ADDED]
        if self.fusion is not None:
            totals = totals + self.fusion.final(states).double().cpu().numpy()
        is_complete = integers[:, _NODE] == 0
        if is_complete.any():
            totals[~is_complete] = -np.inf
        return self._traced(int(integers[totals.argmax(), _RECORD]))

    def _record(self, floats: NDArray[np.float64], integers: NDArray[np.int64], new: NDArray[np.int64], t: int) -> None:
        """Record the new words of hypotheses, those of the rows `new`."""
        first, last = self.num_records, self.num_records + len(new)
        while last > len(self.records.word):
            self.records = _Records(*(np.concatenate([x, np.empty_like(x)]) for x in self.records))
        r, ints = self.records, integers[new]
        r.parent[first:last], r.word[first:last] = ints[:, _RECORD], ints[:, _WORD]
        r.begin[first:last], r.end[first:last], r.num_units[first:last] = ints[:, _BEGIN], t, ints[:, _NUM]
        r.past[first:last], r.peak[first:last] = floats[new, _PAST], floats[new, _PEAK]
        integers[new, _RECORD] = np.arange(first, last)
        self.num_records = last

    def _score(
        self,
        fusion: Scorer,
        floats: NDArray[np.float64],
        words: NDArray[np.int64],
        new: NDArray[np.int64],
        states: tuple[Tensor, ...],
        rows: NDArray[np.float32],
    ) -> None:
        """Add the scores of the second and later tokens of new words, and set states and rows to those after them."""
        device = states[0].device
        places = torch.from_numpy(new).to(device)
        after = select(states, places)
        for j in range(int(self.lengths[words].max())):
            tokens = torch.from_numpy(self.lm_tokens[words, j]).to(device)
            if j:
                more = fusion.scores(after).gather(1, tokens[:, None])[:, 0]
                floats[new, _ADDED] += more.double().cpu().numpy()
            after = fusion.advance(after, tokens)
        rows[new] = fusion.scores(after).float().cpu().numpy()
        for state, value in zip(states, after):
            state[places] = value

    def _traced(self, record: int) -> Hypothesis:
        """The words up to a record, as tokens."""
        if record < 0:
            return Hypothesis((), (), ())
        r, path = self.records, list[int]()
        while record >= 0:
            path.append(record)
            record = int(r.parent[record])
        # from the last word to the first; a word's peak may have moved behind the beginning of the next
        first_frames = np.minimum.accumulate(np.where(r.num_units[path] == 1, r.end[path], r.begin[path]))
        last_frames = np.minimum(r.end[path], np.append(np.iinfo(np.int64).max, first_frames[:-1]))
        tokens, frames, scores = list[int](), list[int](), list[float]()
        for i, begin, end in zip(reversed(path), first_frames[::-1].tolist(), last_frames[::-1].tolist()):
            ids = self.lexicon.tokens[r.word[i]]
            score = round(math.exp((r.past[i] + r.peak[i]) / r.num_units[i]), 4)
            tokens += ids
            frames += np.linspace(begin, max(begin, end), len(ids)).astype(int).tolist()
            scores += [score] * len(ids)
        return Hypothesis(tuple(tokens), tuple(frames), tuple(scores))


@numba.njit(cache=True, error_model="numpy")
def _log_add(a, b):  # pragma: no cover (compiled)
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == -np.inf else a + np.log1p(np.exp(b - a))


@numba.njit(cache=True, error_model="numpy")
def _hashed(value, more):  # pragma: no cover (compiled)
    """The hash of a sequence after one more number."""
    mixed = (value ^ (more + 1)) * _MULTIPLIER
    return mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)


@numba.njit(cache=True, error_model="numpy")
def _slot(slots, integers, words, node, last):  # pragma: no cover (compiled)
    """The place in the hash table of the candidate with this hash of words, node and last unit, or where to put it."""
    at = _hashed(_hashed(words, node), last) & (len(slots) - 1)
    while slots[at] >= 0:
        c = slots[at]
        if integers[c, _HASH] == words and integers[c, _NODE] == node and integers[c, _LAST] == last:
            break
        at = (at + 1) & (len(slots) - 1)
    return at


@numba.njit(cache=True, error_model="numpy")
def _candidates(frame, hypotheses, trie, words, records, candidates):  # pragma: no cover (compiled)
    """All hypotheses after a frame: those that stay as they are, and those with one more unit.

    Args:
      frame: its number, its log-probs (U,), and what is added for words alike, (S,); (0,): nothing.
      hypotheses: floats and integers of those before it, and (K, V) scores of the next token after each; (., 0): none.
      trie, words: the lexicon.
      records: of words; times and peaks of last words are updated.
      candidates: their floats, integers and hash table, overwritten. The table has to be all -1, and is so afterwards.
    Returns:
      The number of candidates.
    """
    number, log_probs, evidence = frame
    old_floats, old, rows = hypotheses
    floats, integers, slots = candidates
    count = 0
    for k in range(len(old)):
        _copy(old_floats, old, k, floats, integers, count)
        blank, label, last = old_floats[k, _BLANK], old_floats[k, _LABEL], old[k, _LAST]
        floats[count, _BLANK] = _log_add(blank, label) + log_probs[0]
        floats[count, _LABEL] = label + log_probs[last] if last else -np.inf
        integers[count, _PARENT], integers[count, _WORD] = k, -1
        if last and label > blank:
            if old[k, _NODE] == 0:
                if log_probs[last] > records.peak[old[k, _RECORD]]:
                    records.peak[old[k, _RECORD]] = log_probs[last]
                    records.end[old[k, _RECORD]] = number
            elif log_probs[last] > floats[count, _PEAK]:
                floats[count, _PEAK] = log_probs[last]
                if old[k, _NUM] == 1:
                    integers[count, _BEGIN] = number
        slots[_slot(slots, integers, old[k, _HASH], old[k, _NODE], last)] = count
        count += 1
    for k in range(len(old)):
        node, total = old[k, _NODE], _log_add(old_floats[k, _BLANK], old_floats[k, _LABEL])
        for edge in range(trie.first_child[node], trie.first_child[node + 1]):
            unit, child = trie.unit[edge], trie.child[edge]
            score = log_probs[unit] + (old_floats[k, _BLANK] if unit == old[k, _LAST] else total)
            if log_probs[unit] < _FLOOR or score == -np.inf:
                continue
            first = trie.first_word[child] - (trie.first_child[child + 1] > trie.first_child[child])
            for place in range(first, trie.first_word[child + 1]):
                word = trie.word[place] if place >= trie.first_word[child] else -1  # -1: only the beginning of a word
                key = old[k, _HASH] if word < 0 else _hashed(old[k, _HASH], word)
                to = child if word < 0 else 0
                at = _slot(slots, integers, key, to, unit)
                c, more, blank = slots[at], -np.inf, -np.inf
                if c >= 0:  # the same hypothesis: it has both log-probs, and the times of the larger one
                    more, blank = floats[c, _LABEL], floats[c, _BLANK]
                    if score <= max(more, blank):
                        floats[c, _LABEL] = _log_add(more, score)
                        continue
                else:
                    c = slots[at] = count
                    count += 1
                _copy(old_floats, old, k, floats, integers, c)
                floats[c, _BLANK], floats[c, _LABEL] = blank, _log_add(more, score)
                floats[c, _PAST] = 0.0 if node == 0 else old_floats[k, _PAST] + old_floats[k, _PEAK]
                floats[c, _PEAK] = log_probs[unit]
                integers[c, _NODE], integers[c, _LAST], integers[c, _HASH] = to, unit, key
                integers[c, _NUM] = 1 if node == 0 else old[k, _NUM] + 1
                if node == 0:
                    integers[c, _BEGIN] = number
                integers[c, _PARENT], integers[c, _WORD] = k, word
                if word >= 0:
                    floats[c, _ADDED] += words.bonus[word]
                    if len(evidence) and words.column[place] >= 0:
                        floats[c, _ADDED] += evidence[words.column[place]]
                    if rows.shape[1]:
                        floats[c, _ADDED] += rows[k, words.first_token[word]]
                    integers[c, _WORD_3], integers[c, _WORD_2] = old[k, _WORD_2], old[k, _WORD_1]
                    integers[c, _WORD_1] = word
    for c in range(count):  # each candidate is in the run of places that begins at its hash
        at = _hashed(_hashed(integers[c, _HASH], integers[c, _NODE]), integers[c, _LAST]) & (len(slots) - 1)
        while slots[at] >= 0:
            slots[at] = -1
            at = (at + 1) & (len(slots) - 1)
    return count


@numba.njit(cache=True, error_model="numpy")
def _copy(old_floats, old, k, floats, integers, c):  # pragma: no cover (compiled)
    """Make candidate c hypothesis k: in loops, since assignments of rows take two seconds more to compile."""
    for i in range(old_floats.shape[1]):
        floats[c, i] = old_floats[k, i]
    for i in range(old.shape[1]):
        integers[c, i] = old[k, i]


@numba.njit(cache=True, error_model="numpy")
def _chosen(floats, integers, beam, alike):  # pragma: no cover (compiled)
    """The numbers of the best candidates, best first, at most `beam`, and at most `alike` with the same last words."""
    ranks = np.empty(len(floats))
    for c in range(len(floats)):
        ranks[c] = -(_log_add(floats[c, _BLANK], floats[c, _LABEL]) + floats[c, _ADDED])
    most = _MORE * beam
    limit = np.partition(ranks, most)[most] if len(ranks) > most else np.inf
    near = np.flatnonzero((ranks <= limit) & (ranks < np.inf))
    near = near[np.argsort(ranks[near])]
    chosen, count = np.empty(beam, np.int64), 0
    for candidate in near:
        num_same = 0
        for other in chosen[:count]:
            is_same = True
            for column in (_NODE, _LAST, _WORD_1, _WORD_2, _WORD_3):
                is_same &= integers[candidate, column] == integers[other, column]
            num_same += is_same
        if num_same < alike:
            chosen[count] = candidate
            count += 1
            if count == beam:
                break
    return chosen[:count]
