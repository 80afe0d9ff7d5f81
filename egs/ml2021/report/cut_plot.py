"""Draw a cut: waveform, fbank, and the words at their times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lhotse.cut import Cut
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pypinyin import lazy_pinyin

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file

FONTS = (
    "Noto Sans CJK TC",
    "Noto Sans CJK JP",
    "Noto Sans TC",
    "PingFang TC",
    "Microsoft JhengHei",
    "WenQuanYi Zen Hei",
)
FONT_FILES = ("notosanscjk", "notosanstc", "pingfang", "msjh", "wqy")  # prefixes of their file names, in lower case
INCHES_PER_SECOND, MIN_INCHES, MAX_INCHES = 1.3, 8, 120
BLUE, ORANGE = "#3b82c4", "#b8652a"


def chinese_font() -> str | None:
    """Name of an installed font with Chinese characters; None if there is none."""
    font = _known_font()
    if font is None:  # Matplotlib caches its list of fonts: look for newly installed ones
        for path in font_manager.findSystemFonts():
            if Path(path).name.lower().startswith(FONT_FILES):
                font_manager.fontManager.addfont(path)
        font = _known_font()
    return font


def _known_font() -> str | None:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in FONTS if name in installed), None)


def draw_cut(cut: Cut, path: Path) -> None:
    """Draw a cut as PNG. Without a Chinese font, Chinese words are written in pinyin.

    Raises:
      DataError: the audio or features of the cut cannot be read.
    """
    try:
        samples = cut.load_audio()[0]
        features = cut.load_features() if cut.has_features else fbank_extractor().extract(samples, cut.sampling_rate)
    except Exception as e:  # the type depends on how the audio is stored
        raise DataError(f"the audio or features of cut {cut.id} cannot be read ({type(e).__name__}: {e})") from e
    font = chinese_font()
    width = float(np.clip(INCHES_PER_SECOND * cut.duration, MIN_INCHES, MAX_INCHES))
    figure = Figure(figsize=(width, 5.2), layout="constrained")
    wave, fbank, words = figure.subplots(3, 1, sharex=True, height_ratios=[2, 3, 1.6])
    step = max(1, len(samples) // 20_000)
    wave.plot(np.arange(0, len(samples), step) / cut.sampling_rate, samples[::step], color=BLUE, linewidth=0.5)
    wave.set_ylabel("samples")
    wave.set_title(f"{cut.id}: {cut.start:.2f} to {cut.end:.2f} s", loc="left", fontsize=10)
    fbank.imshow(
        features.T, origin="lower", aspect="auto", extent=(0, cut.duration, 0, features.shape[1]), cmap="magma"
    )
    fbank.set_ylabel("fbank bins")
    _draw_words(words, cut, font)
    words.set_xlim(0, cut.duration)
    words.set_xlabel("seconds" if font else "seconds (in pinyin: no font with Chinese characters is installed)")
    with whole_file(path, "wb") as f:
        figure.savefig(f, format="png", dpi=110)


def _draw_words(axes: Axes, cut: Cut, font: str | None) -> None:
    """Draw each word at its time, on a bar as high as its confidence; English above Chinese."""
    offset = getattr(cut, "start", 0.0)  # Lhotse stores word times relative to the recording
    for s in cut.supervisions:
        for w in (s.alignment or {}).get("word", []):
            start = w.start - offset
            axes.bar(start, w.score or 0.0, w.duration, align="edge", color=BLUE, alpha=0.35, edgecolor="white")
            chinese = is_han(w.symbol[:1])
            text = w.symbol if font or not chinese else "".join(lazy_pinyin(w.symbol))
            size = 9 if text == w.symbol else 7  # pinyin is wide
            axes.text(
                start + w.duration / 2,
                1.1 if chinese else 1.55,
                text,
                ha="center",
                fontsize=size,
                family=font if chinese and font else None,
                color="black" if chinese else ORANGE,
                parse_math=False,
            )
    axes.set_ylim(0, 1.95)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("confidence")
