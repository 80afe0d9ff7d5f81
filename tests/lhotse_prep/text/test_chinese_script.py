"""Conversion of scripts goes by phrases; spaces and everything that is not Han stay."""

from __future__ import annotations

import pytest

from lhotse_prep.text.chinese_script import convert_script
from lhotse_prep.workflow.errors import ConfigError


@pytest.mark.parametrize(
    ("script", "text", "expected"),
    [
        ("keep", "头 发 bert", "头 发 bert"),
        ("s2t", "头 发 发 展 self-supervised 3×3", "頭 髮 發 展 self-supervised 3×3"),
        ("t2s", "機 器 學 習 l(x) 頭 髮", "机 器 学 习 l(x) 头 发"),
        ("s2t", "", ""),
    ],
)
def test_scripts(script: str, text: str, expected: str) -> None:
    assert convert_script(text, script) == expected
    assert convert_script(expected, script) == expected


def test_unknown_script() -> None:
    with pytest.raises(ConfigError, match="keep, s2t, t2s, got 'tw2sp'"):
        convert_script("我", "tw2sp")
