"""The words of the mini corpus: nouns by kind, adjectives, verbs that stand alone, numbers.

A noun is written `Mandarin=English`; `*` after it marks a mass noun, `@x` its measure word (個 where none is given),
`?` a rare one. The Mandarin side of an English term is the term in lower case.
"""

from __future__ import annotations

from lhotse_prep.corpora.mini_grammar import Rule

NOUNS = {
    "model": """
        model=model; network=network; 機器=machine@台; transformer=transformer; encoder=encoder; decoder=decoder;
        generator=generator; discriminator=discriminator; classifier=classifier; auto-encoder=auto-encoder; agent=agent;
        gan=GAN?; bert=BERT?; teacher network=teacher network?; actor=actor; critic=critic; 電腦=computer@台;
        baseline=baseline?
    """,
    "part": """
        layer=layer; neuron=neuron; filter=filter?; 參數=parameter; weight=weight; bias=bias?; kernel=kernel?;
        embedding=embedding; 函式=function; hyperparameter=hyperparameter; residual block=residual block?
    """,
    "data": """
        data=data*; 資料=data*; image=image@張; sequence=sequence@串; token=token; vector=vector; feature=feature;
        label=label; pixel=pixel; batch=batch; input=input; output=output; training set=training set; matrix=matrix;
        testing set=testing set; tensor=tensor?; 圖片=picture@張; 句子=sentence; 文章=article@篇; 影片=video@段;
        答案=answer; 題目=question@道; 例子=example; 論文=paper@篇; 聲音=sound; 文字=text*; domain=domain
    """,
    "qty": """
        loss=loss; gradient=gradient; learning rate=learning rate; accuracy=accuracy; error rate=error rate; reward=reward;
        cross entropy=cross entropy*; momentum=momentum*?; noise=noise*; variance=variance?; 距離=distance; 速度=speed;
        機率=probability; 分數=score; 誤差=error; 溫度=temperature?; 時間=time*; 差別=difference; margin=margin?
    """,
    "task": """
        classification=classification*; regression=regression*; 翻譯=translation*; 作業=homework*@份; 比賽=competition@場;
        遊戲=game; 實驗=experiment; 任務=task; 問題=problem; speech recognition=speech recognition*;
        question answering=question answering*; anomaly detection=anomaly detection*?; benchmark=benchmark?
    """,
    "meth": """
        gradient descent=gradient descent*; dropout=dropout*; data augmentation=data augmentation*; optimizer=optimizer;
        meta-learning=meta-learning*; transfer learning=transfer learning*; batch normalization=batch normalization*;
        reinforcement learning=reinforcement learning*; self-supervised learning=self-supervised learning*;
        regularization=regularization*; back-propagation=back-propagation*; early stopping=early stopping*?;
        self-attention=self-attention*; pruning=pruning*?; 演算法=algorithm; 方法=method; 技術=technique; 步驟=step;
        公式=formula; 規則=rule@條; 工具=tool; 理論=theory@套; 概念=concept; adam=Adam*?; framework=framework
    """,
    "place": """
        saddle point=saddle point; local minimum=local minimum; critical point=critical point; 山谷=valley; 終點=end point;
        global minimum=global minimum?; 山頂=mountain top
    """,
}

ADJECTIVES = {
    # of anything
    "ADJ": """
        大=large; 小=small; 好=good; 新=new; 舊=old; 簡單=simple; 複雜=complicated; 困難=difficult; 重要=important;
        奇怪=strange; 有趣=interesting; 有用=useful; 特別=special; 完整=complete; 常見=common; robust=robust; random=random;
        穩定=stable; 危險=dangerous; 便宜=cheap; general=general; powerful=powerful; sparse=sparse; 乾淨=clean; 普通=ordinary
    """,
    # before a noun, with no 的
    "KIND": """
        deep=deep; linear=linear; pre-trained=pre-trained; supervised=supervised?; unsupervised=unsupervised;
        end-to-end=end-to-end; convolutional=convolutional?; recurrent=recurrent?; dynamic=dynamic?
    """,
    # of quantities
    "DEGREE": "大=large; 小=small; 高=high; 低=low; 穩定=stable; 正常=normal; 明顯=obvious; smooth=smooth; 準確=accurate",
}

PEOPLE = """
    我=I/I; 我們=we/pl; 你=you/pl; 大家=everyone/sg; 助教=the TA/sg; 老師=the teacher/sg; 同學=the students/pl;
    研究人員=the researchers/pl; 人類=humans/pl; 有人=someone/sg; 專家=experts/pl; 他們=they/pl; 工程師=the engineers/pl
"""

NUMBERS = """
    兩=two; 三=three; 四=four; 五=five; 六=six; 七=seven; 八=eight; 九=nine; 十=ten; 二十=twenty; 三十=thirty;
    五十=fifty; 一百=one hundred; 兩百=two hundred; 一千=one thousand; 一萬=ten thousand
"""
ONES = "一=one; 二=two; 三=three; 四=four; 五=five; 六=six; 七=seven; 八=eight; 九=nine"
TENS = "二十=twenty; 三十=thirty; 四十=forty; 五十=fifty; 六十=sixty; 七十=seventy; 八十=eighty; 九十=ninety"

_RARE = 0.05


def _entries(text: str) -> list[tuple[str, str]]:
    pairs = []
    for entry in text.replace("\n", " ").split(";"):
        if entry.strip():
            mandarin, _, english = entry.strip().partition("=")
            pairs.append((mandarin, english))
    return pairs


def _words(symbol: str, text: str) -> list[Rule]:
    rules = []
    for mandarin, english in _entries(text):
        weight = _RARE if english.endswith("?") else 1.0
        rules.append(Rule(symbol, weight, mandarin, english.rstrip("?")))
    return rules


def term_rules() -> list[Rule]:
    """The lexicon as rules. A noun of kind `data` has the symbol `data`, and `data+` too where it can be counted."""
    rules = []
    for kind, text in NOUNS.items():
        for mandarin, english in _entries(text):
            weight = _RARE if english.endswith("?") else 1.0
            english, _, measure = english.rstrip("?").partition("@")
            number = "mass" if english.endswith("*") else "count"
            english = english.rstrip("*")
            rules.append(Rule(f"{kind}n", weight, mandarin, english, number, measure or "個"))
            if number == "count":
                rules.append(Rule(f"{kind}n+", weight, mandarin, english, number, measure or "個"))
    for symbol, text in ADJECTIVES.items():
        rules += _words(symbol, text)
    for mandarin, english in _entries(PEOPLE):
        english, _, number = english.partition("/")
        rules.append(Rule("WHO", 3.0 if len(mandarin) == 1 or mandarin == "我們" else 1.0, mandarin, english, number))
    rules += _words("NUM", NUMBERS)
    rules += _words("ONES", ONES)
    rules += _words("TENS", TENS)
    return rules


def english_terms() -> set[str]:
    """The English terms of the Mandarin side, some of two words."""
    texts = [*NOUNS.values(), *ADJECTIVES.values()]
    return {mandarin for text in texts for mandarin, _ in _entries(text) if mandarin.isascii()}
