"""Fast beam search by k2: one-best over a trivial graph, at most one token a frame. k2 is needed for this search alone.

Legend: N utterances, T frames, D encoder dimension, B contexts of all utterances, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lhotse_prep.errors import ConfigError
from ml2021.asr.model import BLANK_ID, AsrModel
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


@torch.no_grad()
def fast_beam_search(
    model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, beam: float = 20.0, max_contexts: int = 8,
    max_states: int = 64, blank_penalty: float = 0.0,
) -> list[Hypothesis]:  # fmt: skip
    """
    Args:
      model: in evaluation mode.
      encoder_out: (N, T, D).
      encoder_out_lens: (N,).
      beam: log-probability below the best at which a path is given up.
      max_contexts: decoder contexts a frame and utterance, at most.
      max_states: states of the graph a frame and utterance, at most.
      blank_penalty: taken from the blank's logit.
    Returns:
      One hypothesis an utterance: the best path, whose arc number t is frame t.
    Raises:
      ConfigError: k2 is not installed.
    """
    k2 = import_k2()
    lattice = _lattice(k2, model, encoder_out, encoder_out_lens, beam, max_contexts, max_states, blank_penalty)
    best = k2.shortest_path(lattice, use_double_scores=True)
    found = []
    for n in range(len(encoder_out)):
        path = best[n]
        labels, probs = path.labels.tolist(), path.scores.exp().clamp(max=1.0).tolist()
        frames = [t for t, label in enumerate(labels) if label not in (BLANK_ID, -1)]  # -1 leads to the final state
        found.append(
            Hypothesis(tuple(labels[t] for t in frames), tuple(frames), tuple(round(probs[t], 4) for t in frames))
        )
    return found


def _lattice(
    k2: Any, model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, beam: float, max_contexts: int,
    max_states: int, blank_penalty: float,
) -> Any:  # fmt: skip
    """The paths that were kept, an FsaVec of N lattices."""
    vocab_size = model.joiner.output_linear.out_features
    graph = k2.trivial_graph(vocab_size - 1, device=encoder_out.device)
    config = k2.RnntDecodingConfig(
        vocab_size=vocab_size, decoder_history_len=model.decoder.context_size, beam=beam, max_contexts=max_contexts,
        max_states=max_states,
    )  # fmt: skip
    streams = k2.RnntDecodingStreams([k2.RnntDecodingStream(graph) for _ in range(len(encoder_out))], config)
    am = model.joiner.encoder_proj(encoder_out)
    for t in range(am.shape[1]):
        shape, contexts = streams.get_contexts()  # contexts (B, context_size)
        rows = shape.row_ids(1).to(torch.int64)
        logits = model.joiner(am[rows, t], project(model, contexts.to(torch.int64)))
        logits[:, BLANK_ID] -= blank_penalty
        streams.advance(logits.float().log_softmax(dim=1))
    streams.terminate_and_flush_to_streams()
    return streams.format_output(encoder_out_lens.tolist())
