"""Batched greedy search with at most one token per frame, like icefall's greedy_search_batch.

Legend: N batch, T frames, D encoder dimension, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ml2021.asr.model.context import project, start_context
from ml2021.asr.model.recogniser import BLANK_ID, AsrModel
from ml2021.asr.search.hypothesis import Hypothesis

LOOK_AHEAD = 8  # frames (of all utterances together) joined at once with one context on a CPU; most frames are blank


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
    am = model.joiner.encoder_proj(encoder_out)  # (N, T, J)
    if encoder_out.shape[1] == 0:
        return [Hypothesis((), (), ()) for _ in range(len(am))]
    choose = choose_looking_ahead if am.device.type == "cpu" else choose_frame_by_frame
    tokens, probs = (x.cpu().numpy() for x in choose(model, am, encoder_out_lens, blank_penalty))
    hypotheses = []
    for row, row_probs in zip(tokens, probs):
        frames = np.flatnonzero(row != BLANK_ID)
        scores = (round(score, 4) for score in row_probs[frames].tolist())
        hypotheses.append(Hypothesis(tuple(row[frames].tolist()), tuple(frames.tolist()), tuple(scores)))
    return hypotheses


def choose_frame_by_frame(model: AsrModel, am: Tensor, lens: Tensor, blank_penalty: float) -> tuple[Tensor, Tensor]:
    """The best symbol of each frame and its probability, (N, T) each, blank after the end; never waits for a GPU.

    Args:
      am: encoder_proj(encoder_out), (N, T, J).
      lens: (N,).
    """
    context = start_context(model, len(am), am.device)
    lm = project(model, context)
    tokens, probs = [], []
    for t in range(am.shape[1]):
        logits = model.joiner(am[:, t], lm)
        logits[:, BLANK_ID] -= blank_penalty
        best = logits.argmax(dim=1, keepdim=True)  # (N, 1)
        best = torch.where(t < lens[:, None], best, BLANK_ID)
        tokens.append(best)
        probs.append(logits.float().softmax(dim=1).gather(1, best))
        moved = torch.cat([context[:, 1:], best], dim=1)
        context = torch.where(best == BLANK_ID, context, moved)
        lm = project(model, context)
    return torch.cat(tokens, dim=1), torch.cat(probs, dim=1)


def choose_looking_ahead(model: AsrModel, am: Tensor, lens: Tensor, blank_penalty: float) -> tuple[Tensor, Tensor]:
    """As choose_frame_by_frame; joins several frames at once, up to the next token. Faster on a CPU."""
    num_utterances, num_frames, _ = am.shape
    context = start_context(model, num_utterances, am.device)
    lm = project(model, context)
    tokens = torch.full((num_utterances, num_frames), BLANK_ID)
    probs = torch.zeros(num_utterances, num_frames)
    frames = torch.arange(num_frames, device=am.device)
    step, t = max(1, LOOK_AHEAD // num_utterances), 0
    while t < num_frames:
        logits = model.joiner(am[:, t : t + step], lm[:, None])  # (N, step, V), valid up to the next token
        logits[..., BLANK_ID] -= blank_penalty
        best = logits.argmax(dim=2)
        new = (best != BLANK_ID) & (frames[t : t + step] < lens[:, None])
        is_new = new.any(dim=0).tolist()
        if True not in is_new:
            t += step
            continue
        ahead = is_new.index(True)
        logits, best, new = logits[:, ahead], best[:, ahead], new[:, ahead]
        tokens[:, t + ahead] = torch.where(new, best, BLANK_ID)
        probs[:, t + ahead] = logits.float().softmax(dim=1).gather(1, best[:, None]).squeeze(1)
        moved = torch.cat([context[:, 1:], best[:, None]], dim=1)
        context = torch.where(new[:, None], moved, context)
        lm = project(model, context)
        t += ahead + 1
    return tokens, probs
