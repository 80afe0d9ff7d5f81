"""N-gram models in the ARPA format: base-10 log-probabilities and back-off weights, by order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file

BOS, EOS = "<s>", "</s>"
Ngram = tuple[str, ...]
NEVER = -99.0  # the logarithm of 0 in ARPA files
MOST_LOG_PROB = 1e-4  # above 0, for rounding
MOST_PROB = 1.05  # of all tokens after no context


@dataclass(frozen=True)
class ArpaModel:
    """tables[n - 1] is {n-gram: (log10 probability of its last token after the others, log10 back-off weight)}."""

    tables: tuple[dict[Ngram, tuple[float, float]], ...]

    @property
    def order(self) -> int:
        """Number of tokens in the longest n-grams."""
        return len(self.tables)

    def log10_prob(self, context: Ngram, token: str) -> float:
        """log10 probability of a token after a context, from the longest n-gram in the model (Katz, 1987)."""
        context = context[max(0, len(context) - self.order + 1) :]
        backoff = 0.0
        while True:
            entry = self.tables[len(context)].get((*context, token))
            if entry is not None:
                return backoff + entry[0]
            if not context:
                return backoff + NEVER
            backoff += self.tables[len(context) - 1].get(context, (0.0, 0.0))[1]
            context = context[1:]


def write_arpa(path: Path, model: ArpaModel) -> None:
    """Write a model in the ARPA format."""
    with whole_file(path) as f:
        f.write("\\data\\\n" + "".join(f"ngram {n}={len(t)}\n" for n, t in enumerate(model.tables, 1)))
        for n, table in enumerate(model.tables, 1):
            f.write(f"\n\\{n}-grams:\n")
            for ngram, (log_prob, backoff) in sorted(table.items()):
                weight = f"\t{backoff:.6f}" if n < model.order else ""
                f.write(f"{log_prob:.6f}\t{' '.join(ngram)}{weight}\n")
        f.write("\n\\end\\\n")


def read_arpa(path: Path) -> ArpaModel:
    """Read a model, written by write_arpa or by another tool.

    Raises:
      DataError: the file is missing, a line is malformed, the numbers of n-grams differ from those in the header, or
        the logarithms cannot be those of probabilities.
    """
    if not path.is_file():
        raise DataError(f"no language model {path}; make one with python -m ml2021.asr.fusion.train")
    try:
        model = _read(path)
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8 (byte {e.start} of a block); convert it, or train it again") from e
    total = sum(10**log_prob for (token,), (log_prob, _) in model.tables[0].items() if token != BOS)
    if total > MOST_PROB:
        raise DataError(
            f"{path}: the probabilities of its unigrams sum to {total:.3g}, more than 1; write base-10 logarithms of "
            "probabilities, or train it again"
        )
    return model


def _read(path: Path) -> ArpaModel:
    sizes: list[int] = []
    tables: list[dict[Ngram, tuple[float, float]]] = []
    ended = False
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.strip()
            try:
                if line.startswith("ngram "):
                    sizes.append(int(line.split("=")[1]))
                elif line == "\\end\\":
                    ended = True
                    break
                elif line.endswith("-grams:") and line.startswith("\\"):
                    tables.append({})
                elif line and tables:
                    log_prob = _add_line(tables, line.split())
                    if log_prob > MOST_LOG_PROB:
                        raise DataError(
                            f"{path}, line {number}: log-probability {log_prob:g} is above 0; write base-10 logarithms "
                            "of probabilities, not costs or counts, or train it again"
                        )
            except (ValueError, IndexError) as e:
                raise DataError(f"{path}, line {number}: not a line of an ARPA file: {line[:80]!r}") from e
    if not ended or not sizes or [len(t) for t in tables] != sizes:
        raise DataError(f"{path} is not whole: its header announces {sizes} n-grams, it has {[len(t) for t in tables]}")
    return ArpaModel(tuple(tables))


def _add_line(tables: list[dict[Ngram, tuple[float, float]]], fields: list[str]) -> float:
    """Add an n-gram to the last table; returns its log-probability."""
    n = len(tables)
    if len(fields) not in (n + 1, n + 2):
        raise ValueError(f"{len(fields)} fields")
    log_prob, backoff = _logarithm(fields[0]), _logarithm(fields[n + 1]) if len(fields) == n + 2 else 0.0
    tables[-1][tuple(fields[1 : n + 1])] = (log_prob, backoff)
    return log_prob


def _logarithm(field: str) -> float:
    """A base-10 logarithm; -inf, which some tools write, is NEVER."""
    value = float(field)
    if math.isnan(value) or value == math.inf:
        raise ValueError(f"{field} is no logarithm")
    return max(value, NEVER)
