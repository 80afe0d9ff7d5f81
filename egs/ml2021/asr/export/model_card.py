"""The README of an exported recogniser: what it is, how accurate it is, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lhotse_prep.tokens.token_table import TokenTable
from ml2021.asr.model.recogniser import AsrModel, num_parameters

_USAGE = """import sherpa_onnx

recognizer = sherpa_onnx.{kind}.from_transducer(
    encoder="{folder}encoder.onnx",  # or encoder.int8.onnx, and joiner.int8.onnx
    decoder="{folder}decoder.onnx",
    joiner="{folder}joiner.onnx",
    tokens="{folder}tokens.txt",
    # hotwords: decoding_method="modified_beam_search", hotwords_file="hotwords.txt",
    # modeling_unit="cjkchar+bpe", bpe_vocab="{folder}bpe.vocab",
)"""


_KINDS = {
    "char+bpe": "Chinese characters and English BPE",
    "bpe": "BPE",
    "bbpe": "byte-BPE",
    "char": "characters and letters",
}


def model_card(
    model: AsrModel,
    tokens: TokenTable,
    out_dir: Path,
    method: str,
    mer: Mapping[str, float | None],
    sherpa_scores: Mapping[str, float | None],
) -> str:
    """Return the model card as Markdown.

    Args:
      model: the recogniser.
      tokens: its tokens.
      out_dir: folder of the exported files.
      method: the method that stage 6 decoded the test windows with.
      mer: the scores of that decoding, {"mer", "zh", "en"} in percent.
      sherpa_scores: what sherpa.compare_with_ours returned, for a causal model merged with its scores of streams.
    """
    streams = (out_dir / "streaming" / "encoder.onnx").is_file()
    encoder = "causal Zipformer" if streams else "Zipformer"
    lines = [
        "# Speech recognition for Mandarin lectures with English terms",
        "",
        f"A transducer with a {encoder} encoder, {num_parameters(model):,} parameters in training, "
        f"{len(tokens)} tokens ({_KINDS[tokens.kind]}), for 16 kHz audio. Trained with the recipe ml2021.",
        "",
        "## Accuracy",
        "",
        "Mixed error rate (MER, over Chinese characters and English words) on the test windows of its corpus, in "
        "percent. Figures from other test sets or other text normalisers cannot be compared with these.",
        "",
        "| decoded with | test windows | MER | Chinese | English |",
        "|---|---|---|---|---|",
        f"| ml2021, {method} | all | {_percent(mer, 'mer')} | {_percent(mer, 'zh')} | {_percent(mer, 'en')} |",
    ]
    count = f"{sherpa_scores['sherpa_num_cuts']:.0f}"
    for name, key in (
        ("ml2021, greedy_search", "sherpa_our_mer"),
        ("sherpa-onnx, float32, greedy_search", "sherpa_mer"),
        ("sherpa-onnx, int8, greedy_search", "sherpa_int8_mer"),
        ("ml2021, greedy_search, streams", "sherpa_streaming_our_mer"),
        ("sherpa-onnx, float32, greedy_search, streams", "sherpa_streaming_mer"),
        ("sherpa-onnx, int8, greedy_search, streams", "sherpa_streaming_int8_mer"),
    ):
        if key in sherpa_scores:
            lines.append(f"| {name} | {count} | {_percent(sherpa_scores, key)} | | |")
    lines += ["", "## Files", "", "| file | kB |", "|---|---|"]
    files = sorted(p for p in out_dir.rglob("*") if p.is_file() and p.suffix != ".md")
    lines += [f"| {p.relative_to(out_dir)} | {p.stat().st_size / 1024:.0f} |" for p in files]
    lines += ["", "`pretrained.pt` holds only the weights, under the key `model`, as in icefall.", ""]
    lines += ["## Use", "", "```python", _USAGE.format(kind="OfflineRecognizer", folder=""), "```", ""]
    if streams:
        usage = _USAGE.format(kind="OnlineRecognizer", folder="streaming/")
        chunk = model.config.encoder.chunk_size[0] / 50
        lines += [f"For live audio, in chunks of {chunk:g} s:", "", "```python", usage, "```", ""]
    lines += [
        "## Limits",
        "",
        "It was trained only on the lectures of its corpus and cannot write a character that is not in tokens.txt. "
        "Digits, formulas and punctuation are written as in the transcripts of that corpus.",
    ]
    return "\n".join(lines) + "\n"


def _percent(scores: Mapping[str, float | None], key: str) -> str:
    value = scores.get(key)
    return "-" if value is None else f"{value:.2f}"
