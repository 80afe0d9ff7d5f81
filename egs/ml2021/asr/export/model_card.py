"""The README of an exported recogniser: what it is, how well it hears, how to use it."""

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


_KINDS = {"char+bpe": "Chinese characters and English BPE", "bpe": "BPE", "bbpe": "byte-BPE"}


def model_card(
    model: AsrModel,
    tokens: TokenTable,
    out_dir: Path,
    method: str,
    mer: Mapping[str, float | None],
    checked: Mapping[str, float | None],
) -> str:
    """Markdown.

    Args:
      model: the recogniser.
      tokens: its tokens.
      out_dir: the exported files.
      method: with which stage 6 decoded the test windows.
      mer: {"mer", "zh", "en"} of that in percent.
      checked: what sherpa.compare_with_ours returned, for a causal model also that of its streams.
    """
    streams = (out_dir / "streaming" / "encoder.onnx").is_file()
    encoder = "causal Zipformer" if streams else "Zipformer"
    lines = [
        "# A recogniser of Mandarin lectures with English terms",
        "",
        f"A transducer with a {encoder} encoder, {num_parameters(model):,} parameters in training, "
        f"{len(tokens)} tokens ({_KINDS[tokens.kind]}), for 16 kHz audio. Made by the recipe ml2021.",
        "",
        "## How well it hears",
        "",
        "Mixed error rate (Chinese characters and English words) on the test windows of its corpus, in percent. "
        "Figures on other test sets, or by other normalisers, are not comparable with these.",
        "",
        "| decoded with | test windows | MER | Chinese | English |",
        "|---|---|---|---|---|",
        f"| ml2021, {method} | all | {_percent(mer, 'mer')} | {_percent(mer, 'zh')} | {_percent(mer, 'en')} |",
    ]
    count = f"{checked['sherpa_num_cuts']:.0f}"
    for name, key in (
        ("ml2021, greedy_search", "sherpa_our_mer"),
        ("sherpa-onnx, float32, greedy_search", "sherpa_mer"),
        ("sherpa-onnx, int8, greedy_search", "sherpa_int8_mer"),
        ("ml2021, greedy_search, streams", "sherpa_streaming_our_mer"),
        ("sherpa-onnx, float32, greedy_search, streams", "sherpa_streaming_mer"),
        ("sherpa-onnx, int8, greedy_search, streams", "sherpa_streaming_int8_mer"),
    ):
        if key in checked:
            lines.append(f"| {name} | {count} | {_percent(checked, key)} | | |")
    lines += ["", "## Files", "", "| file | kB |", "|---|---|"]
    files = sorted(p for p in out_dir.rglob("*") if p.is_file() and p.suffix != ".md")
    lines += [f"| {p.relative_to(out_dir)} | {p.stat().st_size / 1024:.0f} |" for p in files]
    lines += ["", "`pretrained.pt` holds the weights alone, under the key `model`, as icefall's do.", ""]
    lines += ["## Use", "", "```python", _USAGE.format(kind="OfflineRecognizer", folder=""), "```", ""]
    if streams:
        usage = _USAGE.format(kind="OnlineRecognizer", folder="streaming/")
        chunk = model.config.encoder.chunk_size[0] / 50
        lines += [f"As it is spoken, in chunks of {chunk:g} s:", "", "```python", usage, "```", ""]
    lines += [
        "## Limits",
        "",
        "It was trained on the lectures of its corpus alone, and knows no character that is not in tokens.txt. Digits, "
        "formulas and punctuation come out as the transcripts of that corpus have them.",
    ]
    return "\n".join(lines) + "\n"


def _percent(scores: Mapping[str, float | None], key: str) -> str:
    value = scores.get(key)
    return "-" if value is None else f"{value:.2f}"
