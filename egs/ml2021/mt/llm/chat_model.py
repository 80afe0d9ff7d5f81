"""A chat model of transformers, asked by its own chat template. Code in a model's folder never runs.

Legend: N requests, P tokens of a prompt, T tokens of an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import DataError
from ml2021.mt.llm.answer import ends_in_thought, without_thoughts

logger = logging.getLogger(__name__)
DATE = "01 Jan 2026"  # for templates that write today's date, which would make answers depend on it


@dataclass(frozen=True)
class Request:
    """What is asked once."""

    prompt: str  # as the chat template writes it
    max_new_tokens: int


@dataclass(frozen=True)
class Answer:
    """What a model answers, with its special tokens and without its thoughts."""

    text: str
    is_whole: bool  # whether it ends within max_new_tokens
    in_thought: bool  # whether it ends before a thought does
    score: float  # mean log-probability of its tokens


class ChatModel:
    """A causal language model with a chat template; it answers greedily."""

    def __init__(self, model: Any, tokenizer: Any, what: str) -> None:
        """
        Args:
          model, tokenizer: of transformers.
          what: names them in messages.
        Raises:
          DataError: the tokenizer has no chat template, or belongs to another model.
        """
        if not tokenizer.chat_template:
            raise DataError(
                f"{what} has no chat template: it continues texts and answers no requests; take its chat (instruct) "
                "version"
            )
        num_embeddings = model.get_input_embeddings().num_embeddings
        if len(tokenizer) > num_embeddings:
            raise DataError(
                f"{what}: the tokenizer has {len(tokenizer)} tokens and the model {num_embeddings}; copy both from the "
                "same model"
            )
        self.model, self.tokenizer, self.what = model, tokenizer, what
        self.num_positions: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.special_tokens = _special_tokens(tokenizer)
        ends = getattr(model.generation_config, "eos_token_id", None)
        self._ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
        self._ends |= _ends_of_turns(tokenizer)
        self._use_greedy_search()

    def _use_greedy_search(self) -> None:
        """Take the model's own search settings away, such as sampling and penalties."""
        from transformers import GenerationConfig

        self._pad = self.tokenizer.pad_token_id
        if self._pad is None:
            self._pad = min(self._ends, default=0)
        self.model.generation_config = GenerationConfig(
            do_sample=False, num_beams=1, eos_token_id=sorted(self._ends) or None, pad_token_id=self._pad
        )

    def prompt(self, message: str) -> str:
        """A message of the user as the chat template writes it, up to where the answer begins.

        Raises:
          DataError: the template refuses it.
        """
        for token in self.special_tokens:  # a transcript must not end the message
            message = message.replace(token, "")
        try:
            text: str = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": message}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # most templates do not read these two
                date_string=DATE,
            )
        except Exception as e:  # of the template, which may raise what it likes
            reason = str(e).strip() or type(e).__name__
            raise DataError(f"{self.what}: its chat template refuses a request: {reason.splitlines()[0]}") from e
        return text

    def num_tokens(self, text: str) -> int:
        return len(self._encode(text))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def answers(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers to requests, which are computed together.

        Raises:
          DataError: a single request needs more memory than the GPU has.
        """
        import torch

        try:
            return self._answers(requests)
        except torch.OutOfMemoryError as e:
            if len(requests) == 1:
                raise DataError(
                    f"{self.what} does not fit into the memory of the GPU together with a request; take a smaller model"
                ) from e
        half = len(requests) // 2
        return self.answers(requests[:half]) + self.answers(requests[half:])

    def _answers(self, requests: Sequence[Request]) -> list[Answer]:
        import torch
        from transformers import LogitsProcessorList

        prompts = [self._encode(r.prompt) for r in requests]
        width, log_probs = max(map(len, prompts)), _LogProbs()
        ids = torch.tensor([[self._pad] * (width - len(p)) + p for p in prompts])  # (N, P)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=max(r.max_new_tokens for r in requests),
                logits_processor=LogitsProcessorList([log_probs]),
            )
        rows = output[:, width:].tolist()
        columns = list(zip(*log_probs.steps, strict=True)) or [()] * len(rows)
        return [self._answer(*parts) for parts in zip(requests, rows, columns, strict=True)]

    def _answer(self, request: Request, ids: Sequence[int], log_probs: Sequence[float]) -> Answer:
        ids = ids[: request.max_new_tokens]
        length = next((i for i, token in enumerate(ids) if token in self._ends), None)
        scores = log_probs[: len(ids) if length is None else length + 1]
        text, in_thought = without_thoughts(
            self.tokenizer.decode(ids[:length], skip_special_tokens=False, clean_up_tokenization_spaces=False),
            ends_in_thought(request.prompt),
        )
        return Answer(text, length is not None, in_thought, sum(scores) / max(1, len(scores)))


class _LogProbs:
    """A logits processor that keeps the log-probability of each greedy choice, and changes nothing."""

    def __init__(self) -> None:
        self.steps: list[list[float]] = []  # (T, N)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.steps.append(scores.float().log_softmax(-1).max(-1).values.tolist())
        return scores


def _ends_of_turns(tokenizer: Any) -> set[int]:
    """The special token that the chat template puts after an answer, which a model's configuration may lack."""
    answer = "answer"
    turns = [{"role": "user", "content": "request"}, {"role": "assistant", "content": answer}]
    try:
        after = tokenizer.apply_chat_template(turns, tokenize=False).rpartition(answer)[2]
    except Exception:  # of the template, which need not take an answer
        return set()
    ids = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"][:1]
    return {i for i in ids if getattr(tokenizer.added_tokens_decoder.get(i), "special", False)}


def _special_tokens(tokenizer: Any) -> list[str]:
    """Special tokens, the longest first."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(added | set(tokenizer.all_special_tokens), key=lambda token: (-len(token), token))


def load_chat_model(folder: Path, what: str, compute_type: str = "float32") -> ChatModel:
    """Load a chat model: on a GPU in bf16, else in float32, unless compute_type is bfloat16 or float16.

    Args:
      folder: of the model.
      what: names it in messages.
    Raises:
      DataError: it cannot be loaded, weights are missing, it has no chat template, or it needs more memory.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtypes = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    dtype = dtypes.get(compute_type, torch.bfloat16 if device.type == "cuda" else torch.float32)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        if not tokenizer.chat_template:  # before the weights, which may be large
            return ChatModel(None, tokenizer, what)
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, **options)
        report, model = loaded[1], loaded[0].eval().to(device)
    except DataError:
        raise
    except torch.OutOfMemoryError as e:
        raise DataError(f"{what} does not fit into the memory of the GPU; take a smaller model") from e
    except Exception as e:  # of transformers, tokenizers, safetensors, pickle or a missing package: each has its own
        reason = str(e).strip() or type(e).__name__
        raise DataError(f"{what} cannot be loaded as a chat model: {reason.splitlines()[0]}") from e
    if lost := sorted(report["missing_keys"]):
        raise DataError(f"{what} is incomplete: {len(lost)} of its model's weights are missing, such as {lost[0]}")
    logger.info("%s: %s on %s in %s", what, type(model).__name__, device, str(dtype).removeprefix("torch."))
    return ChatModel(model, tokenizer, what)
