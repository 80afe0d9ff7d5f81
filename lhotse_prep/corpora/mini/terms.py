"""The vocabulary of the mini corpus: nouns by kind, adjectives, people and numbers.

A noun is written `Mandarin=English`; `*` after it marks a mass noun, `@x` its measure word (個 by default), `?` a rare
noun. The Mandarin side of an English term is the term in lower case.
"""

from __future__ import annotations

from lhotse_prep.corpora.mini.grammar import Rule

NOUNS = {
    "model": """
        model=model; network=network; 機器=machine@台; transformer=transformer; encoder=encoder; decoder=decoder;
        generator=generator; discriminator=discriminator; classifier=classifier; auto-encoder=auto-encoder;
        agent=agent; gan=GAN?; bert=BERT?; actor=actor; critic=critic; 電腦=computer@台
    """,
    "part": """
        layer=layer; neuron=neuron; filter=filter?; 參數=parameter; weight=weight; bias=bias?; kernel=kernel?;
        embedding=embedding; 函式=function; hyperparameter=hyperparameter
    """,
    "data": """
        data=data*; 資料=data*; image=image@張; sequence=sequence@串; token=token; vector=vector; feature=feature;
        label=label; pixel=pixel; batch=batch; input=input; output=output; matrix=matrix; domain=domain;
        training set=training set; testing set=testing set; 圖片=picture@張; 句子=sentence; 文章=article@篇;
        答案=answer; 題目=question; 例子=example; 論文=paper@篇; 聲音=sound
    """,
    "qty": """
        loss=loss; gradient=gradient; learning rate=learning rate; accuracy=accuracy; error rate=error rate;
        reward=reward; cross entropy=cross entropy*; momentum=momentum*?; noise=noise*; variance=variance?;
        距離=distance; 速度=speed; 機率=probability; 分數=score; 時間=time*; 差別=difference
    """,
    "task": """
        classification=classification*; regression=regression*; 翻譯=translation*; 作業=homework*; 遊戲=game;
        實驗=experiment; 任務=task; 問題=problem; speech recognition=speech recognition*
    """,
    "meth": """
        gradient descent=gradient descent*; dropout=dropout*; data augmentation=data augmentation*;
        optimizer=optimizer; meta-learning=meta-learning*; transfer learning=transfer learning*;
        reinforcement learning=reinforcement learning*; self-supervised learning=self-supervised learning*;
        regularization=regularization*; back-propagation=back-propagation*; early stopping=early stopping*?;
        self-attention=self-attention*; normalization=normalization*; pruning=pruning*?; 演算法=algorithm; 方法=method;
        技術=technique; 步驟=step; 公式=formula; 工具=tool; 概念=concept; adam=Adam*?
    """,
    "place": """
        saddle point=saddle point; local minimum=local minimum; critical point=critical point; 山谷=valley;
        global minimum=global minimum?; 山頂=mountain top
    """,
}

ADJECTIVES = {
    # of any noun
    "ADJ": """
        大=large; 小=small; 好=good; 新=new; 簡單=simple; 複雜=complicated; 重要=important; 奇怪=strange;
        有趣=interesting; 有用=useful; 特別=special; 完整=complete; 穩定=stable; robust=robust; random=random;
        general=general; powerful=powerful; sparse=sparse
    """,
    # only before a noun
    "KIND": """
        deep=deep; linear=linear; pre-trained=pre-trained; supervised=supervised?; unsupervised=unsupervised;
        end-to-end=end-to-end; convolutional=convolutional?
    """,
    # of quantities
    "DEGREE": "大=large; 小=small; 高=high; 低=low; 穩定=stable; 正常=normal; smooth=smooth; 準確=accurate",
}

PEOPLE = """
    我=I/I; 我們=we/pl; 你=you/pl; 大家=everyone/sg; 助教=the TA/sg; 老師=the teacher/sg; 同學=the students/pl;
    人類=humans/pl; 有人=someone/sg; 他們=they/pl; 工程師=the engineers/pl
"""

NUMBERS = """
    兩=two; 三=three; 四=four; 五=five; 六=six; 七=seven; 八=eight; 九=nine; 十=ten; 二十=twenty; 三十=thirty;
    五十=fifty; 一百=one hundred
"""
ONES = "一=one; 二=two; 三=three; 四=four; 五=five; 六=six; 七=seven; 八=eight; 九=nine"
TENS = "二十=twenty; 三十=thirty; 四十=forty; 五十=fifty; 六十=sixty; 七十=seventy; 八十=eighty; 九十=ninety"

RARE = 0.1  # weight of a rare word


def _entries(text: str) -> list[tuple[str, str]]:
    """(Mandarin, English with its marks) of each entry."""
    pairs = []
    for entry in text.replace("\n", " ").split(";"):
        if entry.strip():
            mandarin, _, english = entry.strip().partition("=")
            pairs.append((mandarin, english))
    return pairs


def _words(symbol: str, text: str) -> list[Rule]:
    rules = []
    for mandarin, english in _entries(text):
        weight = RARE if english.endswith("?") else 1.0
        rules.append(Rule(symbol, weight, mandarin, english.rstrip("?")))
    return rules


def term_rules() -> list[Rule]:
    """The vocabulary as rules. A noun of kind `data` has the symbol `datan`, and also `datan+` if it is countable."""
    rules = []
    for kind, text in NOUNS.items():
        for mandarin, english in _entries(text):
            weight = RARE if english.endswith("?") else 1.0
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
