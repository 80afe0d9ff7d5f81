"""Which Han characters form a word: the shortest path through a list of words.

The list has what is said most often in lectures, and CC-CEDICT's 120,000 words after it. Characters are compared in
Simplified script.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import pairwise

from lhotse_prep.text import cedict
from lhotse_prep.text.chinese_script import converter

_LONGEST = 4  # characters of a word; longer ones are phrases, which may be cut
_UNKNOWN = 1.2  # cost of a character that is in no word; a word costs 1
_RARE = 1.05  # cost of a word that only the dictionary has
_SINGLES = frozenset(
    "的了呢吗吧啊著着过地得们我你他她它在把被对跟和与从给用让叫是就不很最也都没这那一每第为以再又还更太比"
    "会要能有说讲做个种次去来到看想那好"
)
_COMMON = """
下一個 上一個 這一個 那一個 某一個 每一個 另一個 同一個 這樣子 那樣子 就這樣 這一次 那一次 下一次 上一次 每一次 做什麼
我們 你們 他們 她們 它們 咱們 大家 自己 人家 別人 這個 那個 哪個 這些 那些 哪些 這樣 那樣 怎樣 這裡 那裡 哪裡 這邊
那邊 這種 那種 這麼 那麼 怎麼 什麼 甚麼 為什麼 怎麼樣 這時候 那時候 時候 有時候 什麼樣 一個 一些 一下 一樣 一點 一起
一直 一定 一般 一次 一種 一邊 一開始 有點 有些 有人 有一個 每個 每次 某個 某種 另外 其他 其它 其中 其實 所有 任何 許多
很多 不同 相同 全部 部分 大部分 多少 幾個 兩個 第一 第二 第三 上面 下面 裡面 外面 前面 後面 左邊 右邊 中間 旁邊 之間
之前 之後 之中 之下 以前 以後 以上 以下 以外 以內 以及 以來 左右 現在 今天 明天 昨天 今年 去年 明年 最近 最後 後來
剛才 剛剛 剛好 馬上 立刻 已經 曾經 正在 將來 未來 過去 目前 當時 平常 通常 常常 經常 往往 總是 有時 偶爾 永遠 從來
向來 還是 還有 就是 也是 都是 只是 只有 只要 只能 不是 但是 可是 不過 然而 而且 並且 或者 或是 還要 因為 所以 因此
如果 假如 假設 要是 雖然 儘管 即使 就算 除非 除了 然後 接著 接下來 於是 不然 否則 由於 為了 關於 對於 至於 根據 按照
透過 通過 經過 隨著 以為 認為 覺得 知道 認識 了解 理解 明白 發現 看到 看出 聽到 聽說 聽起來 看起來 想到 想要 希望 需要
必須 應該 可以 可能 能夠 也許 或許 大概 似乎 好像 看似 其次 首先 最終 終於 究竟 到底 當然 果然 居然 竟然 顯然 確實
的確 真的 真正 實際 實際上 基本上 事實上 事實 理論 理論上 沒有 沒關係 不會 不能 不要 不用 不行 不錯 不好 不知道 不一樣
不一定 非常 特別 十分 相當 比較 更加 尤其 稍微 幾乎 完全 全都 一共 總共 至少 最多 最好 最大 最小 越來越 差不多 事情
東西 問題 答案 地方 方法 方式 方向 方面 情況 情形 狀況 狀態 原因 結果 效果 目的 目標 意思 意義 重要 重點 簡單 簡單來說
複雜 困難 容易 清楚 明顯 直接 間接 直覺 正確 錯誤 準確 精確 有用 有效 有趣 奇怪 特殊 普通 一致 相關 相似 類似 開始
結束 繼續 停止 停在 發生 出現 產生 造成 導致 變成 成為 叫做 稱為 當作 當成 看成 作為 屬於 包含 包括 存在 使用 利用
應用 運用 採用 做到 做出 得到 拿到 找到 找出 遇到 達到 學到 收到 用到 講到 說到 提到 碰到 回到 進入 輸入 輸出 放進
加入 加上 加起來 減少 增加 提高 降低 提升 改變 改進 變化 變得 調整 調節 控制 處理 解決 解釋 說明 介紹 討論 講解 回答
告訴 展示 表示 代表 表現 表達 描述 定義 計算 運算 算出 估計 估測 預測 預估 判斷 決定 選擇 選出 分類 分析 分開 比如
例如 比如說 譬如 例子 舉例 舉例來說 換句話說 也就是 也就是說 所謂 就是說 來說 的話 模型 模組 機器 電腦 程式 語言 語音
影像 圖片 文字 文章 句子 詞彙 單字 聲音 訊號 資料 數據 資訊 資料集 訓練 測試 測驗 驗證 學習 深度 深度學習 機器學習
類神經 神經網路 網路 神經 參數 函數 函式 向量 矩陣 維度 數字 數值 數學 公式 微分 梯度 梯度下降 隨機 機率 分佈 分布
平均 標準 標準差 誤差 損失 曲線 直線 平面 空間 圖形 座標 演算法 算法 架構 結構 系統 系列 層次 階段 步驟 過程 流程 任務
作業 作業系統 課程 課堂 上課 下課 下週 上週 上次 下次 這次 那次 同學 老師 教授 學生 研究 論文 實驗 實作 結論 成果 經驗
知識 技術 能力 人類 人工 人工智慧 智慧 智能 世界 社會 台灣 大學 臺灣 時間 速度 長度 大小 高低 距離 位置 範圍 程度 數量
品質 水準 版本 種類 類別 類型 標籤 標註 特徵 屬性 內容 格式 形式 名字 名稱 單位 元素 物件 物體 對象 角度 觀點 想法
概念 觀念 原理 原則 規則 條件 限制 優點 缺點 好處 壞處 差別 差異 區別 關係 關聯 影響 作用 功能 性能 性質 特性 可能性
穩定 固定 自動 手動 主動 被動 動作 行為 環境 互動 反應 獎勵 策略 更新 初始 初始化 收斂 發散 過擬合 學習率 批次 樣本
圖像 辨識 識別 生成 翻譯 轉換 轉成 編碼 解碼 壓縮 注意力 機制 自監督 監督 非監督 強化 強化學習 對抗 對抗式 遷移 微調
預訓練 填空 填空題 接龍 文獻 題目 知名 有名 鼎鼎有名 著名 得出 地球 地圖 地點 過來 過年 了不起 著手 著重 得分 目的地
了結 講完 做完 看完 用完 起來 出來 出去 進去 進來 回來 回去 上去 下去 下來 上來 拿來 拿出來 用來 看看 想想 試試 試試看
試著 朋友 手機 電影 音樂 新聞 報告 投影片 影片 螢幕 畫面 網站 網頁 軟體 硬體 裝置 伺服器 記憶 記憶體 記得 忘記 注意
小心 仔細 慢慢 快速 迅速 重新 再來 再次 反覆 反而 相反 相對 相對應 對應 絕對 整個 整體 整理 個別 各自 各種 各位 分別
彼此 互相 共同 獨立 單獨 額外 多餘 原來 原本 本來 本身 本質 根本 表面 表格 背後 背景 前提 先前 事先 優先 順序 次序
依序 依照 依據 依賴 支援 支持 反對 同意 同樣 同時 舉個例子 怎麼辦 為何 如何 如此 如同 比方 比方說 不管 不論 無論 無法
無窮 有限 有關 沒用 沒錯 對不對 是不是 有沒有 好不好 能不能 可不可以 會不會 要不要
"""


def segment(characters: str, lexicon: Mapping[str, float] | None = None) -> list[str]:
    """Cut a run of Han characters into words; the cheapest words win, then those of most even length.

    Args:
      characters: Han characters, in either script.
      lexicon: {word in Simplified script: cost}; None: the usual list.
    """
    lexicon = usual_lexicon() if lexicon is None else lexicon
    text = "".join(map(_simplified, characters))
    costs: list[tuple[float, int]] = [(0.0, 0)]  # of the best path to each place: its cost, and its squared lengths
    begins = [0]
    for end in range(1, len(text) + 1):
        options = []
        for begin in range(max(0, end - _LONGEST), end):
            word_cost = lexicon.get(text[begin:end], _UNKNOWN if end - begin == 1 else None)
            if word_cost is not None:
                cost, squares = costs[begin]
                options.append(((round(cost + word_cost, 6), squares + (end - begin) ** 2), begin))
        best, begin = min(options)
        costs.append(best)
        begins.append(begin)
    ends = [len(text)]
    while ends[-1] > 0:
        ends.append(begins[ends[-1]])
    places = ends[::-1]
    return [characters[a:b] for a, b in pairwise(places)]


def stands_alone(character: str) -> bool:
    """Whether a Han character is a common word by itself."""
    return _simplified(character) in _SINGLES


@cache
def usual_lexicon() -> dict[str, float]:
    """The words of the list and of CC-CEDICT, in Simplified script, with their costs."""
    return dict.fromkeys(_dictionary_words(), _RARE) | common_words()


def common_words() -> dict[str, float]:
    """The words of the list alone."""
    return dict.fromkeys(["".join(map(_simplified, word)) for word in _COMMON.split()] + sorted(_SINGLES), 1.0)


def _dictionary_words() -> set[str]:
    words = {entry.simplified for entry in cedict.entries()}
    return {word for word in words if 2 <= len(word) <= _LONGEST and word[-1] not in "的个"}


@cache
def _simplified(character: str) -> str:
    """The Simplified form of a character; itself if it has none of one character."""
    simplified = str(converter("t2s").convert(character))
    return simplified if len(simplified) == 1 else character
