"""A decoding graph LG: a lexicon that spells words in tokens, composed with an n-gram model in the ARPA format.

The command is python -m ml2021.asr.search.lg_graph.

The words of the model may be units of normalised text (Han characters, English words) or tokens, as in the models of
ml2021.asr.fusion.train. Tokens determine the words, so the graph has no word labels: its labels are tokens and its
scores natural logarithms. k2's search ignores the scores of final states, so the score of a sentence end is on the arc
of the last token, and an empty sentence has score 0. As in icefall's LG, there are also paths that back off without
need. The n-best search sums over all paths, so a sentence gets a bonus: the smaller ngram_lm_scale, the larger it is,
up to log 3 per word of a trigram. Needs k2. Format and operations: Mohri, Pereira and Riley (2002).
"""

from __future__ import annotations

import functools
import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from lhotse_prep.tokens.token_table import WORD_START, TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file
from ml2021.asr.fusion.arpa import BOS, EOS, NEVER, ArpaModel, Ngram
from ml2021.asr.search.fast_beam_search import import_k2

logger = logging.getLogger(__name__)
BACKOFF = 1  # label of back-off arcs in the word graph


def spell(model: ArpaModel, tokens: TokenTable) -> dict[str, list[int]]:
    """{word: its token ids}, for the unigrams that can be spelled in tokens.

    Raises:
      DataError: no word can be spelled.
    """
    words = [w for (w,) in model.tables[0] if w not in (BOS, EOS)]
    of_tokens = any(w.startswith(WORD_START) for w in words)
    spelled = {w: [tokens.ids[w]] if w in tokens.ids else [] for w in words} if of_tokens else {}
    if not of_tokens:
        spelled = {w: tokens.encode(w) for w in words}
    lexicon = {w: ids for w, ids in spelled.items() if ids and tokens.special.not_text.isdisjoint(ids)}
    if not lexicon:
        raise DataError(
            "none of the language model's words can be spelled in the tokens; was it made for this language?"
        )
    if len(lexicon) < len(words):
        logger.info(
            "%d of %d words cannot be spelled in the tokens and are left out", len(words) - len(lexicon), len(words)
        )
    return lexicon


def build_lg(model: ArpaModel, tokens: TokenTable) -> Any:
    """The graph: a k2.Fsa whose labels are token ids.

    Raises:
      ConfigError: k2 is not installed.
      DataError: none of the model's words or sentences can be spelled in the tokens.
    """
    k2 = import_k2()
    lexicon = spell(model, tokens)
    labels = {word: BACKOFF + 1 + i for i, word in enumerate(lexicon)}
    first_mark = len(tokens)  # labels from here on are disambiguation symbols
    g = k2.arc_sort(k2.Fsa.from_openfst(_word_graph(model, labels), acceptor=True))
    lg = k2.connect(k2.compose(k2.arc_sort(_lexicon_fst(k2, lexicon, labels, first_mark)), g))
    if lg.shape[0] == 0:
        raise DataError("the language model has no sentence of words that can be spelled in the tokens")
    del lg.aux_labels
    lg = k2.connect(k2.determinize(lg, k2.DeterminizeWeightPushingType.kLogWeightPushing))
    labels_without_marks = lg.labels.clone()
    labels_without_marks[labels_without_marks >= first_mark] = 0
    lg.labels = labels_without_marks
    return k2.arc_sort(k2.connect(_with_ends_on_arcs(k2, k2.remove_epsilon(lg))))


def _with_ends_on_arcs(k2: Any, graph: Any) -> Any:
    """A graph with the same sentences and scores in which final arcs have score 0.

    For each final arc of a state, the arcs to this state are copied with the score of the final arc added; the copies
    lead to a new state where the sentence must end. The empty sentence loses its score.
    """
    arcs, scores = graph.arcs.values().long(), graph.scores  # (A, 4): from, to, label, bits of the score; (A,)
    final, num_states = arcs[:, 2] == -1, graph.shape[0]
    ends, end_scores = arcs[final, 0], scores[final]
    inner, inner_scores = arcs[~final, :3], scores[~final]
    num_ends = torch.bincount(ends, minlength=num_states)  # final arcs of each state
    times = num_ends[inner[:, 1]]
    which = torch.repeat_interleave(times)  # arc numbers, repeated for each final arc of the target
    nth = torch.arange(len(which)) - (times.cumsum(0) - times)[which]
    end = (num_ends.cumsum(0) - num_ends)[inner[which, 1]] + nth
    copies = inner[which]
    copies[:, 1] = num_states - 1  # the number of the old final state; the new one gets the next number
    finals = torch.tensor([[num_states - 1, num_states, -1]] + [[0, num_states, -1]] * int(num_ends[0] > 0))
    rows = torch.cat([inner, copies, finals])
    values = torch.cat([inner_scores, inner_scores[which] + end_scores[end], torch.zeros(len(finals))])
    order = torch.argsort(rows[:, 0], stable=True)
    bits = values[order].contiguous().view(torch.int32)
    return k2.Fsa(torch.cat([rows[order].int(), bits[:, None]], dim=1))


def _lexicon_fst(k2: Any, lexicon: dict[str, list[int]], labels: dict[str, int], first_mark: int) -> Any:
    """Tokens to words, with one loop per word, and one that passes back-offs on.

    Words with the same spelling, and those whose spelling begins another word, end with a disambiguation symbol.
    """
    spellings = Counter(tuple(ids) for ids in lexicon.values())
    beginnings = {tuple(ids[:n]) for ids in lexicon.values() for n in range(1, len(ids))}
    used: Counter[tuple[int, ...]] = Counter()
    lines, num_states = [f"0 0 {first_mark} {BACKOFF} 0"], 1
    for word, ids in lexicon.items():
        key = tuple(ids)
        path = list(ids)
        if key in beginnings or spellings[key] > 1:
            used[key] += 1
            path.append(first_mark + used[key])
        state = 0
        for i, token in enumerate(path):
            last = i == len(path) - 1
            next_state = 0 if last else num_states
            num_states += not last
            lines.append(f"{state} {next_state} {token} {labels[word] if i == 0 else 0} 0")
            state = next_state
    return k2.Fsa.from_openfst("\n".join([*lines, "0 0", ""]), acceptor=False)


def _word_graph(model: ArpaModel, labels: dict[str, int]) -> str:
    """The n-gram model as an acceptor in OpenFst's text format: one state per context, with back-off arcs."""
    contexts: dict[Ngram, int] = {}

    def state(context: Ngram) -> int:
        context = context[max(0, len(context) - model.order + 1) :]
        while context and (len(context) > len(model.tables) or context not in model.tables[len(context) - 1]):
            context = context[1:]
        return contexts.setdefault(context, len(contexts))

    start = state((BOS,))  # the first state in the text is the initial state
    lines, finals = [], []
    for table in model.tables:
        for ngram, (log_prob, _) in table.items():
            context, word = ngram[:-1], ngram[-1]
            if log_prob <= NEVER or any(w not in labels and w != BOS for w in context):
                continue
            cost = -log_prob * math.log(10.0)
            if word == EOS:
                finals.append(f"{state(context)} {cost:.6f}")
            elif word in labels:
                lines.append(f"{state(context)} {state(ngram)} {labels[word]} {cost:.6f}")
    for context, number in list(contexts.items()):
        if context:
            backoff = model.tables[len(context) - 1][context][1]
            lines.append(f"{number} {state(context[1:])} {BACKOFF} {-backoff * math.log(10.0):.6f}")
    lines.sort(key=lambda line: int(line.split()[0]) != start)
    return "\n".join([*lines, *finals, ""])


def save_lg(path: Path, graph: Any) -> None:
    """Write a graph as its arcs and their scores."""
    with whole_file(path, "wb") as f:
        torch.save({"arcs": graph.arcs.values(), "scores": graph.scores}, f)


@functools.lru_cache(maxsize=1)
def load_lg(path: str, scale: float, device: torch.device) -> Any:
    """Load a graph written by save_lg and multiply its scores by scale.

    Raises:
      ConfigError: k2 is not installed.
      DataError: the file is missing or is not such a graph.
    """
    k2 = import_k2()
    if not Path(path).is_file():
        raise DataError(f"no decoding graph {path}; make it with python -m ml2021.asr.search.lg_graph")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        graph = k2.Fsa(content["arcs"])
        graph.scores = content["scores"] * scale
    except Exception as e:  # torch raises many kinds of errors for other files
        raise DataError(f"{path} is not a graph of ml2021.asr.search.lg_graph: {str(e).splitlines()[0]}") from e
    return graph.to(device)
