"""Batched greedy search with at most one token per frame, like icefall's greedy_search_batch.

Legend: N batch, T frames, D encoder dimension, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml2021.asr.model.recogniser import BLANK_ID, AsrModel
from ml2021.asr.search.context import project, start_context
from ml2021.asr.search.hypothesis import Hypothesis

LOOK_AHEAD = 8  # frames (of all utterances together) joined at once with one context; most frames are blank


@torch.no_grad()
def greedy_search(
    model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, blank_penalty: float = 0.0
) -> list[Hypothesis]:
    """
    Args:
      model: in evaluation mode.
      encoder_out: (N, T, D).
      encoder_out_lens: (N,).
      blank_penalty: subtracted from the blank's logit.
    Returns:
      One hypothesis per utterance.
    """
    num_utterances, num_frames, _ = encoder_out.shape
    am = model.joiner.encoder_proj(encoder_out)  # (N, T, J)
    context = start_context(model, num_utterances, encoder_out.device)
    lm = project(model, context)
    emitted: list[list[tuple[int, int, float]]] = [[] for _ in range(num_utterances)]
    frames = torch.arange(num_frames, device=encoder_out.device)
    step, t = max(1, LOOK_AHEAD // num_utterances), 0
    while t < num_frames:
        logits = model.joiner(am[:, t : t + step], lm[:, None])  # (N, step, V), valid up to the next token
        logits[..., BLANK_ID] -= blank_penalty
        best = logits.argmax(dim=2)
        new = (best != BLANK_ID) & (frames[t : t + step] < encoder_out_lens[:, None])
        is_new = new.any(dim=0).tolist()
        if True not in is_new:
            t += step
            continue
        ahead = is_new.index(True)
        logits, best, new = logits[:, ahead], best[:, ahead], new[:, ahead]
        probs = logits.softmax(dim=1).gather(1, best[:, None]).squeeze(1)
        for n in new.nonzero().squeeze(1).tolist():
            emitted[n].append((int(best[n]), t + ahead, float(probs[n])))
        moved = torch.cat([context[:, 1:], best[:, None]], dim=1)
        context = torch.where(new[:, None], moved, context)
        lm = project(model, context)
        t += ahead + 1
    return [
        Hypothesis(tuple(x[0] for x in e), tuple(x[1] for x in e), tuple(round(x[2], 4) for x in e)) for e in emitted
    ]
