"""Where a text may be broken, into lines or into cues, and how much a viewer minds each place.

A cost of 0 is the end of a sentence, about 0.5 a place between two words, 1 one that only a lack of space justifies;
infinity is inside a word, before a particle or a closing mark, or after an opening one.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from lhotse_prep.text.characters import is_han
from ml2021.st.cues.config import SubtitleConfig
from ml2021.st.cues.widths import num_wide, width
from ml2021.st.cues.words_zh import segment, stands_alone

MUST = 2.0  # cost of a break inside a word, where the word fits nowhere else
_CONJUNCTION = 0.3  # cost of a break before one
LONG_PAUSE = 0.5  # seconds; what is inside it is no word
SENTENCE_MARKS = "。．？！?!.…‥"
CLAUSE_MARKS = "，,；;：:—–、､"
_PAUSE_MARKS = "、､"


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_QUOTES = frozenset("\"'")
_MAY_BEGIN = frozenset("#@&*\\/¿¡§†‡")  # of category Po, yet opening
_MAY_NOT_BEGIN = frozenset("々ー～〜%％‰°℃")

_PARTICLES = frozenset("的了呢嗎吗吧啊阿呀啦嘛喔哦囉啰耶欸著着過过地得們们麼么")
_FINAL_PARTICLES = frozenset("呢嗎吗吧啊呀啦嘛喔哦囉啰")
_COMPLEMENTS = frozenset("到完成出")  # of the verb before
_NUMERALS = frozenset("一二三四五六七八九十百千萬万億亿兩两幾几半每這这那哪某")
_DIGITS = frozenset("零〇一二三四五六七八九十百千萬万億亿點点")
_MEASURES = frozenset("個个種种次點点件些張张層层項项句段篇步組组類类倍年月天週周號号位條条本份題题筆笔隻只維维遍秒")
# Words that belong to what follows them.
_ATTACH_FORWARD = _listed(
    """
    到 在 把 被 對 对 跟 和 與 与 從 从 給 给 用 讓 让 叫 是 就 不 很 最 也 都 沒 没 這 这 那 一 每 第 為 为 以 再 又
    還 还 更 太 比 往 向 當 当 會 会 要 能 若 而 且 或 其 該 该 此 各 我 你 他 她 它 有 這個 这个 那個 那个 一個 一个
    這些 这些 那些 這種 这种 那種 那种 就是 也是 都是 不是 可以 應該 应该 必須 必须 能夠 能够 沒有 没有 不會 不会 不能
    一種 一种 第一 第二 第三 非常 比較 比较 因為 因为 所以 如果 但是 可是 然後 然后 假設 假设 為了 为了 關於 关于 對於
    对于 根據 根据 而且 或者 我們 我们 你們 你们 他們 他们 它們 它们 什麼 什么 怎麼 怎么 已經 已经 還是 还是 只要 只有
    雖然 虽然 由於 由于
    """
)
_CONJUNCTIONS_ZH = _listed(
    """
    但是 但 可是 不過 不过 然而 而且 並且 并且 所以 因此 因為 因为 如果 假如 假設 假设 要是 雖然 虽然 然後 然后 接著
    接着 接下來 接下来 於是 于是 否則 否则 或者 或是 還有 还有 除了 為了 为了 由於 由于 比如 例如 比如說 譬如 首先
    其次 最後 最后 當然 当然 其實 其实 也就是說 也就是说 也就是 換句話說 那麼 那么 不然 只要 只有 除非 即使 就算 儘管
    不管 無論 至於 至于 另外 甚至 尤其
    """
)
_CONJUNCTIONS_EN = _listed(
    """
    and but or so because if when while although though since unless whereas that which who whose where why how then
    however therefore until before after
    """
)
_PREPOSITIONS_EN = _listed(
    """
    of in on at to for from with by about into onto over under between among through during without within against
    across toward towards upon via than per like as
    """
)
_DETERMINERS_EN = _listed(
    """
    a an the this that these those my your his her its our their some any each every no another such both either
    neither which what whose more most very too so quite not really just only also even still one two three four five
    six seven eight nine ten hundred thousand million
    """
)
_VERBS_EN = _listed(
    """
    is are was were be been being am has have had do does did will would can could shall should may might must i you
    he she it we they i'm you're we're they're it's that's there's he's she's i'll we'll you'll let's don't doesn't
    didn't can't cannot won't isn't aren't wasn't weren't mr mrs ms dr prof
    """
)


class _Words(NamedTuple):
    """Words of Han characters: {index of the unit where one begins or ends: the word}."""

    beginning: dict[int, str]
    ending: dict[int, str]


def break_costs(units: Sequence[str], config: SubtitleConfig, pauses: Sequence[float] = ()) -> list[float]:
    """What it costs to break a text after each of its units but the last.

    A word, with what must stay on its line, is only broken if it is wider than a line.

    Args:
      units: of the text (see widths).
      config: how wide a line is.
      pauses: seconds of silence after each unit; () if unknown.
    """
    is_wide = any(map(num_wide, units))
    words = _words(units, pauses) if is_wide else _Words({}, {})
    costs = []
    for i, (before, after) in enumerate(pairwise(units)):
        cost = _cost_of_marks(before, after)
        of_words = _mixed_cost(units, i, words) if is_wide else _english_cost(before, after)
        if cost is None:
            cost = of_words
        elif cost < math.inf and of_words <= _CONJUNCTION:
            cost *= 0.2  # a comma before "but"
        pause = min(max(pauses[i], 0.0), LONG_PAUSE) if pauses else 0.0
        costs.append(cost * (1 - 0.7 * pause / LONG_PAUSE) if cost < math.inf else cost)
    return relaxed(costs, lambda a, b: width("".join(units[a:b]).strip(), config) <= config.max_latin + 1e-6)


def relaxed(costs: Sequence[float], fits: Callable[[int, int], bool]) -> list[float]:
    """The costs, with MUST for infinity inside those unbreakable stretches that do not fit.

    Args:
      costs: of breaks after each unit but the last.
      fits: whether the units a to b - 1 fit where they must.
    """
    result, begin = list(costs), 0
    for end in [i + 1 for i, cost in enumerate(costs) if cost < math.inf] + [len(costs) + 1]:
        if end - begin > 1 and not fits(begin, end):
            result[begin : end - 1] = [MUST] * (end - 1 - begin)
        begin = end
    return result


def _words(units: Sequence[str], pauses: Sequence[float]) -> _Words:
    words = _Words({}, {})
    begin = 0
    while begin < len(units):
        end = begin
        while end < len(units) and is_han(units[end].strip()) and (end == begin or units[end][0] != " "):
            end += 1
            if pauses and pauses[end - 1] >= LONG_PAUSE:
                break
        place = begin
        for word in segment("".join(unit.strip() for unit in units[begin:end])):
            words.beginning[place] = word
            place += len(word)
            words.ending[place - 1] = word
        begin = max(end, begin + 1)
    return words


def _cost_of_marks(before: str, after: str) -> float | None:
    """The cost of a break between two units that follows from marks; None if there are none."""
    if not _may_begin(after) or not _may_end(before, has_space_after=after[0] == " "):
        return math.inf
    mark = before[-1] if before[-1].isalnum() else (before.strip().rstrip("\"'”’」』）)]》〉") or before)[-1]
    if mark in SENTENCE_MARKS:
        return 0.0
    if mark in CLAUSE_MARKS:
        return 0.25 if mark in _PAUSE_MARKS else 0.1
    if after[0] == " " and num_wide(before[-1]) and num_wide(after.strip()[0]):
        return 0.05  # Chinese has spaces between sentences only
    return None


def _may_begin(unit: str) -> bool:
    """Whether a unit may begin a line."""
    text = unit.strip()
    if text[0].isalnum() and text[0] not in _MAY_NOT_BEGIN:
        return True
    category = unicodedata.category(text[0])
    if text[0] in _QUOTES:
        return unit[0] == " "
    if category in ("Pe", "Pf") or text[0] in _MAY_NOT_BEGIN:
        return False
    if category in ("Po", "Pd") and text[0] not in _MAY_BEGIN:
        return unit[0] == " " and any(c.isalnum() for c in text)
    return True


def _may_end(unit: str, has_space_after: bool) -> bool:
    """Whether a unit may end a line."""
    text = unit.strip()
    if text[-1].isalnum():
        return True
    if text in _QUOTES or text in _MAY_BEGIN:
        return has_space_after and text not in "¿¡"
    return unicodedata.category(text[-1]) not in ("Ps", "Pi")


def _mixed_cost(units: Sequence[str], i: int, words: _Words) -> float:
    """The cost of a break after unit i of a text with wide characters."""
    before, after = units[i].strip(), units[i + 1].strip()
    ended, begun = words.ending.get(i, ""), words.beginning.get(i + 1, "")
    if is_han(before) and is_han(after) and not ended:
        return math.inf
    if begun and _PARTICLES.issuperset(begun):  # by themselves: 過去 and 地方 begin with none
        return math.inf
    if begun and begun[0] in _MEASURES and (before[-1] in _NUMERALS or before[-1].isdigit()):
        return math.inf
    if begun and begun[0] in _DIGITS and (ended.endswith("第") or ended[-2:] == "分之" or before[-1] in _DIGITS):
        return math.inf
    if ended in _ATTACH_FORWARD or begun in _COMPLEMENTS:
        return 0.85
    if begun in _CONJUNCTIONS_ZH:
        return _CONJUNCTION
    if ended in _FINAL_PARTICLES:
        return 0.35
    if ended and ended[-1] in "的得地":
        return 0.7
    if len(ended) == len(begun) == 1 and not stands_alone(ended) and not stands_alone(begun):
        return 0.8  # perhaps a word that no list has
    if num_wide(before) == 0 and num_wide(after) == 0:
        return 0.9  # inside an English term
    return 0.5 if num_wide(before) and num_wide(after) else 0.55


def _english_cost(before: str, after: str) -> float:
    """The cost of a break between two words of a text without wide characters."""
    first, second = ("".join(c for c in unit.lower() if c.isalnum() or c == "'") for unit in (before, after))
    if first in _PREPOSITIONS_EN or first in _DETERMINERS_EN or first in _CONJUNCTIONS_EN:
        return 0.9
    if first in _VERBS_EN or first.isdigit():
        return 0.75
    if second in _CONJUNCTIONS_EN:
        return _CONJUNCTION
    if second in _PREPOSITIONS_EN:
        return 0.4
    both_are_names = before.strip()[0].isupper() and after.strip()[0].isupper()
    return 0.8 if both_are_names else 0.55
