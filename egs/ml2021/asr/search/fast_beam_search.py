"""Fast beam search with k2 over a trivial graph or an LG, with at most one token per frame.

Finds the best path, or the token sequence with the highest total probability of its paths. Only these searches need k2.
k2 starts with a context of blanks, and its lattice of T frames holds paths of length T - 1, so that the last frame is
ignored, as in icefall.

Legend: N utterances, T frames, D encoder dimension, B contexts of all utterances, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.model.context import project
from ml2021.asr.model.recogniser import BLANK_ID, AsrModel
from ml2021.asr.search.hypothesis import Hypothesis


def import_k2() -> Any:
    """Import k2; raise ConfigError, with advice on installing it, if it is missing."""
    try:
        import k2
    except ImportError as e:
        raise ConfigError(
            f"fast_beam_search needs k2, which is not installed here ({e}): install the wheel that k2-fsa.github.io/k2 "
            f"lists for torch {torch.__version__} and this Python, or use modified_beam_search, which does not need k2"
        ) from e
    return k2


@dataclass(frozen=True)
class FastBeam:
    """Pruning of fast beam search per frame and utterance, and the sampling of its n-best variant."""

    beam: float = 20.0  # paths whose log-probability is this much below the best are dropped
    max_contexts: int = 8  # decoder contexts at most
    max_states: int = 64  # states of the graph at most
    blank_penalty: float = 0.0  # subtracted from the blank's logit
    num_paths: int = 200  # paths that the n-best search samples from the lattice
    nbest_scale: float = 0.5  # factor of the scores while sampling; a smaller one gives more distinct sequences


@torch.no_grad()
def fast_beam_search(
    model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, options: FastBeam | None = None, graph: Any = None
) -> list[Hypothesis]:
    """Find the best path.

    Args:
      model: in evaluation mode.
      encoder_out: (N, T, D).
      encoder_out_lens: (N,).
      options: pruning; None: the default values.
      graph: a k2.Fsa over token ids, without epsilons; None: allow every sequence, with equal scores.
    Returns:
      One hypothesis per utterance: the best path, whose arc number t is frame t.
    Raises:
      ConfigError: k2 is not installed.
    """
    k2 = import_k2()
    lattice = decoding_lattice(k2, model, encoder_out, encoder_out_lens, options or FastBeam(), graph)
    return [_hypothesis(path) for path in _paths(k2, lattice)]


@torch.no_grad()
def fast_beam_search_nbest(
    model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, options: FastBeam | None = None, graph: Any = None
) -> list[Hypothesis]:
    """As fast_beam_search, but find the sequence with the highest total probability, among sequences sampled at random.

    Its frames are those of its best path. k2 samples with its own generator, so that results may differ between runs
    if two sequences are almost equally probable.
    """
    k2, options = import_k2(), options or FastBeam()
    lattice = decoding_lattice(k2, model, encoder_out, encoder_out_lens, options, graph)
    sequences = _sample(k2, lattice, options)
    flat = [ids for of_utterance in sequences for ids in of_utterance]
    owners = torch.tensor([n for n, of_utterance in enumerate(sequences) for _ in of_utterance], dtype=torch.int32)
    if not any(flat):  # no sequences, or only empty ones
        return [Hypothesis((), (), ()) for _ in sequences]
    linear = k2.linear_fsa_with_self_loops(k2.linear_fsa(flat)).to(lattice.device)  # allow blanks anywhere
    linear.scores = torch.zeros_like(linear.scores)
    single = k2.intersect_device(k2.arc_sort(lattice), linear, owners.to(lattice.device), sorted_match_a=True)
    single = k2.top_sort(k2.connect(single))  # one lattice per sequence, with all of its paths
    totals = single.get_tot_scores(use_double_scores=True, log_semiring=True).cpu()
    paths = _paths(k2, single)
    hypotheses = []
    for n in range(len(sequences)):
        candidates = (owners == n).nonzero().squeeze(1).tolist()
        if candidates:
            hypotheses.append(_hypothesis(paths[max(candidates, key=lambda i: float(totals[i]))]))
        else:
            hypotheses.append(Hypothesis((), (), ()))
    return hypotheses


def _sample(k2: Any, lattice: Any, options: FastBeam) -> list[list[list[int]]]:
    """Distinct token sequences of each utterance's lattice, sampled by scaled scores."""
    scores = lattice.scores.clone()
    lattice.scores = scores * options.nbest_scale
    samples = k2.random_paths(lattice, use_double_scores=True, num_paths=options.num_paths)
    lattice.scores = scores
    labels = k2.ragged.index(lattice.labels.contiguous(), samples)
    labels = labels.remove_values_leq(BLANK_ID)  # also removes -1, the label of arcs to the final state
    unique, _, _ = labels.unique()
    return [[list(ids) for ids in of_utterance] for of_utterance in unique.tolist()]


def _paths(k2: Any, lattice: Any) -> list[tuple[list[int], list[float]]]:
    """(labels, probabilities) of the arcs of each lattice's best path; empty if it has no path."""
    best = k2.shortest_path(lattice, use_double_scores=True)
    return [(best[n].labels.tolist(), best[n].scores.exp().clamp(max=1.0).tolist()) for n in range(best.shape[0])]


def _hypothesis(path: tuple[list[int], list[float]]) -> Hypothesis:
    """The tokens, frames and scores of a path of (labels, probabilities)."""
    labels, probs = path
    frames = [t for t, label in enumerate(labels) if label not in (BLANK_ID, -1)]  # -1: arc to the final state
    return Hypothesis(tuple(labels[t] for t in frames), tuple(frames), tuple(round(probs[t], 4) for t in frames))


def decoding_lattice(
    k2: Any, model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, options: FastBeam, graph: Any
) -> Any:
    """The paths that survive pruning: an FsaVec of N lattices."""
    vocab_size = model.joiner.output_linear.out_features
    if graph is None:
        graph = k2.trivial_graph(vocab_size - 1, device=encoder_out.device)
    config = k2.RnntDecodingConfig(
        vocab_size=vocab_size,
        decoder_history_len=model.decoder.context_size,
        beam=options.beam,
        max_contexts=options.max_contexts,
        max_states=options.max_states,
    )
    streams = k2.RnntDecodingStreams([k2.RnntDecodingStream(graph) for _ in range(len(encoder_out))], config)
    am = model.joiner.encoder_proj(encoder_out)
    for t in range(am.shape[1]):
        shape, contexts = streams.get_contexts()  # contexts (B, context_size)
        rows = shape.row_ids(1).to(torch.int64)
        logits = model.joiner(am[rows, t], project(model, contexts.to(torch.int64)))
        logits[:, BLANK_ID] -= options.blank_penalty
        streams.advance(logits.float().log_softmax(dim=1))
    streams.terminate_and_flush_to_streams()
    return streams.format_output(encoder_out_lens.tolist())
