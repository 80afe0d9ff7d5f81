"""Fast beam search by k2 over a trivial graph or an LG, at most one token a frame: the best path, or the token sequence
whose paths together are the best. k2 is needed for these searches alone.

k2 begins with a context of blanks, and its lattice of T frames holds paths of T - 1: what the last frame says is left
out, here as in icefall.

Legend: N utterances, T frames, D encoder dimension, B contexts of all utterances, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.model.recogniser import BLANK_ID, AsrModel
from ml2021.asr.search.context import project
from ml2021.asr.search.hypothesis import Hypothesis


def import_k2() -> Any:
    """k2; raises ConfigError, which says how to get it, where it is not installed."""
    try:
        import k2
    except ImportError as e:
        raise ConfigError(
            f"fast_beam_search needs k2, which is not installed here ({e}): install the wheel that k2-fsa.github.io/k2 "
            f"lists for torch {torch.__version__} and this Python, or use modified_beam_search, which needs none"
        ) from e
    return k2


@dataclass(frozen=True)
class FastBeam:
    """What fast beam search keeps of each frame and utterance, and how the n-best one chooses."""

    beam: float = 20.0  # log-probability below the best at which a path is given up
    max_contexts: int = 8  # decoder contexts, at most
    max_states: int = 64  # states of the graph, at most
    blank_penalty: float = 0.0  # taken from the blank's logit
    num_paths: int = 200  # drawn from the lattice by the n-best search
    nbest_scale: float = 0.5  # of the scores while they are drawn: smaller ones give more different sequences


@torch.no_grad()
def fast_beam_search(
    model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, options: FastBeam | None = None, graph: Any = None
) -> list[Hypothesis]:
    """The best path.

    Args:
      model: in evaluation mode.
      encoder_out: (N, T, D).
      encoder_out_lens: (N,).
      graph: a k2.Fsa over token ids without epsilon; None: any sequence, all with the same score.
    Returns:
      One hypothesis an utterance: the best path, whose arc number t is frame t.
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
    """As fast_beam_search, but the sequence whose paths have the most probability together, of those drawn at random.

    Its frames are those of its best path. The draw is that of k2's own generator: runs differ where two are close.
    """
    k2, options = import_k2(), options or FastBeam()
    lattice = decoding_lattice(k2, model, encoder_out, encoder_out_lens, options, graph)
    sequences = _draw(k2, lattice, options)
    flat = [ids for of_utterance in sequences for ids in of_utterance]
    owners = torch.tensor([n for n, found in enumerate(sequences) for _ in found], dtype=torch.int32)
    if not any(flat):  # nothing drawn, or nothing but silence
        return [Hypothesis((), (), ()) for _ in sequences]
    linear = k2.linear_fsa_with_self_loops(k2.linear_fsa(flat)).to(lattice.device)  # blanks anywhere
    linear.scores = torch.zeros_like(linear.scores)
    single = k2.intersect_device(k2.arc_sort(lattice), linear, owners.to(lattice.device), sorted_match_a=True)
    single = k2.top_sort(k2.connect(single))  # all paths of one sequence each
    totals = single.get_tot_scores(use_double_scores=True, log_semiring=True).cpu()
    paths = _paths(k2, single)
    hypotheses = []
    for n in range(len(sequences)):
        own = (owners == n).nonzero().squeeze(1).tolist()
        hypotheses.append(
            _hypothesis(paths[max(own, key=lambda i: float(totals[i]))]) if own else Hypothesis((), (), ())
        )
    return hypotheses


def _draw(k2: Any, lattice: Any, options: FastBeam) -> list[list[list[int]]]:
    """Different token sequences of each utterance's lattice, drawn by their scaled scores."""
    scores = lattice.scores.clone()
    lattice.scores = scores * options.nbest_scale
    drawn = k2.random_paths(lattice, use_double_scores=True, num_paths=options.num_paths)
    lattice.scores = scores
    labels = k2.ragged.index(lattice.labels.contiguous(), drawn).remove_values_leq(
        BLANK_ID
    )  # and -1, to the final state
    unique, _, _ = labels.unique()
    return [[list(ids) for ids in of_utterance] for of_utterance in unique.tolist()]


def _paths(k2: Any, lattice: Any) -> list[tuple[list[int], list[float]]]:
    """(labels, probabilities) of the arcs of the best path of each lattice; empty ones where it has no path."""
    best = k2.shortest_path(lattice, use_double_scores=True)
    return [(best[n].labels.tolist(), best[n].scores.exp().clamp(max=1.0).tolist()) for n in range(best.shape[0])]


def _hypothesis(path: tuple[list[int], list[float]]) -> Hypothesis:
    labels, probs = path
    frames = [t for t, label in enumerate(labels) if label not in (BLANK_ID, -1)]  # -1 leads to the final state
    return Hypothesis(tuple(labels[t] for t in frames), tuple(frames), tuple(round(probs[t], 4) for t in frames))


def decoding_lattice(
    k2: Any, model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, options: FastBeam, graph: Any
) -> Any:
    """The paths that were kept, an FsaVec of N lattices."""
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
