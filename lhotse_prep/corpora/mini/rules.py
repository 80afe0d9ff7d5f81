"""The rules of the mini corpus' grammar: noun phrases, verb phrases, clauses, sentences; notation: mini.grammar."""

from __future__ import annotations

import re

from lhotse_prep.corpora.mini.grammar import Grammar, Rule, parse_rules
from lhotse_prep.corpora.mini.terms import NOUNS, RARE, term_rules

_SLOT = re.compile(r"\{.*?\}")
_TERM = re.compile(r"[a-z][a-z -]*")

# For each kind of noun, say data: `datan` is the noun itself, `data` a noun with or without an adjective, `DATAN` a
# simple noun phrase, `DATAX` any noun phrase; `+` after it means countable nouns only.
_NOUN_PHRASES = """
thing   6 | {thingn} | {thingn} | thingn
thing   1.2 | {ADJ}的{thingn} | {ADJ} {thingn} | thingn
thing+  6 | {thingn+} | {thingn+} | thingn+
thing+  1.2 | {ADJ}的{thingn+} | {ADJ} {thingn+} | thingn+
THINGN  5 | {thing} | {thing:the} | thing
THINGN  3 | 這{thing:m}{thing} | this {thing} | thing
THINGN  2 | 那{thing:m}{thing} | that {thing} | thing
THINGN  3 | 一{thing+:m}{thing+} | {thing+:a} | thing+
THINGN  1.5 | 很多{thing+} | a lot of {thing+:pl} | pl
THINGN  1 | 每一{thing+:m}{thing+} | every {thing+} | thing+
THINGN  1.5 | 這些{thing+} | these {thing+:pl} | pl
THINGN  1 | 所有的{thing+} | all the {thing+:pl} | pl
THINGN  1.5 | 我們的{thing} | our {thing} | thing
THINGN  1 | 另外一{thing+:m}{thing+} | another {thing+} | thing+
THINGN  1.5 | {NUM}{thing+:m}{thing+} | {NUM} {thing+:pl} | pl
THINGN  1 | 不同的{thing+} | different {thing+:pl} | pl
THINGN  1 | 第{ORD}{thing+:m}{thing+} | the {ORD} {thing+} | thing+
THINGX  14 | {THINGN} | {THINGN} | THINGN
THINGX  1 | 最{ADJ}的{thingn} | the {ADJ:est} {thingn} | thingn
THINGX  1 | {THINGN}跟{THINGN2} | {THINGN} and {THINGN2} | pl
"""

_KINDS = """
OWNER 2 | {MODELX} | {MODELX} | MODELX
OWNER 1 | {DATAX} | {DATAX} | DATAX
PARTX  1.5 | {OWNER}的{partn} | the {partn} of {OWNER} | partn
QTYX   2 | {OWNER}的{qtyn} | the {qtyn} of {OWNER} | qtyn
DATAX  1.2 | {MODELX}的output | the output of {MODELX} | sg
DATAX  0.8 | {OWNER}的第{ORD}{datan+:m}{datan+} | the {ORD} {datan+} of {OWNER} | datan+
DATAX  1 | {WHO}收集的{data} | the {data} that {WHO} {=collect:WHO} | data
MODELX 1 | {WHO}訓練的{model} | the {model} that {WHO} {=train:WHO} | model
MODELX 1 | {KIND}的{modeln} | the {KIND} {modeln} | modeln
MODELX 0.4 | 能夠{MACT}的那種{modeln} | the kind of {modeln} that can {MACT} | sg
METHX  1 | {WHO}發明的{meth} | the {meth} that {WHO} {=invent:WHO} | meth
METHX  1 | 訓練{MODELX}的{methn} | the {methn} to train {MODELX} | methn
QTYX   1 | 百分之{PERCENT}的{qtyn} | {qtyn:a} of {PERCENT} percent | sg
TASKX  1 | 跟{MODELX}有關的{taskn} | the {taskn} about {MODELX} | taskn
PERCENT 2 | {TENS} | {TENS}
PERCENT 3 | {TENS}{ONES} | {TENS}-{ONES}
ORD 2 | 一 | first
ORD 1 | 二 | second
ORD 1 | 三 | third
ORD 0.7 | 四 | fourth
ORD 0.7 | 五 | fifth
ADVERB 1 | 很 | very
ADVERB 1 | 非常 | extremely
ADVERB 1 | 比較 | rather
ADVERB 1 | 太 | too
ADVERB 0.7 | 不夠 | not so
ADVERB 0.7 | 越來越 | more and more
"""

# Actions of people (ACT) and of models (MACT).
_VERB_PHRASES = """
ACT 3 | 訓練{MODELX} | train {MODELX}
ACT 2 | train{MODELX} | train {MODELX}
ACT 1.5 | fine-tune{MODELX} | fine-tune {MODELX}
ACT 2 | 用{METHX} | use {METHX}
ACT 1 | update{PARTX} | update {PARTX}
ACT 1 | 更新{PARTX} | update {PARTX}
ACT 1.5 | minimize{QTYX} | minimize {QTYX}
ACT 0.1 | maximize{QTYX} | maximize {QTYX}
ACT 1.5 | 計算{QTYX} | compute {QTYX}
ACT 1.5 | 收集{DATAX} | collect {DATAX}
ACT 1 | 檢查{QTYX} | check {QTYX}
ACT 1 | 調整{PARTX} | adjust {PARTX}
ACT 1 | 設計{MODELX} | design {MODELX}
ACT 1 | 介紹{METHX} | introduce {METHX}
ACT 1 | 把{MODELN}跟{MODELN2}放在一起 | put {MODELN} together with {MODELN2}
ACT 1 | 定義{QTYX} | define {QTYX}
ACT 1 | 寫程式 | write programs
ACT 1 | 完成{TASKX} | finish {TASKX}
ACT 1 | 解決{TASKX} | solve {TASKX}
ACT 1 | 選擇{METHX} | choose {METHX}
ACT 1.5 | 拿{DATAX}來訓練{MODELX} | use {DATAX} to train {MODELX}
ACT 1.5 | 把{DATAX}放進{MODELX} | feed {DATAX} into {MODELX}
ACT 1 | 把{QTYX}加起來 | add up {QTYX}
ACT 0.1 | shuffle{DATAX} | shuffle {DATAX}
ACT 1 | mask{DATAX} | mask {DATAX}
ACT 1 | sample{DATAX} | sample {DATAX}
ACT 1 | 畫出{QTYX} | plot {QTYX}
ACT 1 | 了解{METHX} | understand {METHX}
ACT 1 | 測量{QTYX} | measure {QTYX}
ACT 1 | 找到{PLACEX} | find {PLACEX}
ACT 1 | 等{NUM}天 | wait for {NUM} days
ACT 1 | 看{NUM}次{DATAX} | look at {DATAX} {NUM} times
ACT 1 | 訓練{NUM}個epoch | train for {NUM} epochs
ACT 1 | 參加{TASKX} | take part in {TASKX}
MACT 1.5 | 產生{DATAX} | generate {DATAX}
MACT 1 | 看懂{DATAX} | understand {DATAX}
MACT 1.5 | 處理{DATAX} | process {DATAX}
MACT 1.5 | 學習{TASKX} | learn {TASKX}
MACT 1 | 做{TASKX} | do {TASKX}
MACT 1.5 | 輸出{DATAX} | output {DATAX}
MACT 1 | 讀{DATAX} | read {DATAX}
MACT 1.5 | predict{QTYX} | predict {QTYX}
MACT 1 | 預測{QTYX} | predict {QTYX}
MACT 1 | 記住{DATAX} | remember {DATAX}
MACT 1 | 忘記{DATAX} | forget {DATAX}
MACT 1 | 犯錯 | make mistakes
MACT 1 | 分辨{DATAN}跟{DATAN2} | tell {DATAN} from {DATAN2}
MACT 1 | 解決{TASKX} | solve {TASKX}
MACT 1 | overfit | overfit
MACT 1 | 停在{PLACEX} | stop at {PLACEX}
MACT 1 | 走到{PLACEX} | walk to {PLACEX}
MACT 1 | attack{MODELX} | attack {MODELX}
MACT 1 | 幫助{MODELX} | help {MODELX}
MACT 1 | 把{DATAX}變成{DATAX2} | turn {DATAX} into {DATAX2}
MACT 1 | 把{DATAX}分成{NUM}類 | divide {DATAX} into {NUM} classes
MACT 0.05 | converge | converge
VERB 5 | {ACT} | {ACT}
VERB 2 | 可以{ACT} | can {ACT}
VERB 1.5 | 要{ACT} | have to {ACT}
VERB 1.5 | 會{ACT} | will {ACT}
VERB 1 | 想要{ACT} | want to {ACT}
VERB 1 | 需要{ACT} | need to {ACT}
VERB 1 | 應該{ACT} | should {ACT}
VERB 1 | 沒有辦法{ACT} | cannot {ACT}
VERB 1 | 不會{ACT} | will not {ACT}
VERB 1 | 開始{ACT} | start to {ACT}
VERB 1 | 正在{ACT} | be {ACT:ing}
VERB 1 | 沒有{ACT} | did not {ACT}
VERB 1 | 喜歡{ACT} | like to {ACT}
VERB 1 | 忘了{ACT} | forget to {ACT}
MVERB 4 | {MACT} | {MACT}
MVERB 2 | 可以{MACT} | can {MACT}
MVERB 1.5 | 會{MACT} | will {MACT}
MVERB 1 | 應該{MACT} | should {MACT}
MVERB 1 | 學會{MACT} | learn to {MACT}
MVERB 1 | 沒有辦法{MACT} | cannot {MACT}
MVERB 1 | 不會{MACT} | will not {MACT}
MVERB 1 | 常常{MACT} | tend to {MACT}
MVERB 1 | 知道怎麼{MACT} | know how to {MACT}
"""

_CLAUSES = """
SAY 5 | {WHO}{VERB} | {WHO} {VERB:WHO}
SAY 4 | {MODELX}{MVERB} | {MODELX} {MVERB:MODELX}
SAY 1.5 | {QTYX}{ADVERB}{DEGREE} | {QTYX} {=be:QTYX} {ADVERB} {DEGREE}
SAY 1 | {QTYX}變得{ADVERB}{DEGREE} | {QTYX} {=become:QTYX} {ADVERB} {DEGREE}
SAY 1 | {METHX}{ADVERB}{ADJ} | {METHX} {=be:METHX} {ADVERB} {ADJ}
SAY 1 | {MODELX}比{MODELX2}更{ADJ} | {MODELX} {=be:MODELX} {ADJ:er} than {MODELX2}
SAY 1 | {TASKX}需要{DATAX} | {TASKX} {=need:TASKX} {DATAX}
SAY 1 | {DATAX}裡面有{DATAX2} | there {=be:DATAX2} {DATAX2} in {DATAX}
SAY 0.7 | {METHX}對{MODELX}有幫助 | {METHX} {=be:METHX} good for {MODELX}
"""

_SENTENCES = """
S 12 | {SAY} | {SAY}.
S 2 | 因為{SAY},所以{SAY2} | because {SAY}, {SAY2}.
S 2 | 如果{SAY},那{SAY2} | if {SAY}, then {SAY2}.
S 2 | 雖然{SAY},但是{SAY2} | although {SAY}, {SAY2}.
S 1.5 | 當{SAY}的時候,{SAY2} | when {SAY}, {SAY2}.
S 1 | 只要{SAY},就沒有問題 | as long as {SAY}, there is no problem.
S 1 | 除非{SAY},否則{SAY2} | unless {SAY}, {SAY2}.
S 1 | {SAY},不過{SAY2} | {SAY}, however, {SAY2}.
S 1 | {SAY},而且{SAY2} | {SAY}, and also {SAY2}.
S 1.5 | 我覺得{SAY} | I think that {SAY}.
S 1.5 | 你會發現說{SAY} | you will find that {SAY}.
S 1 | 大家都知道{SAY} | everyone knows that {SAY}.
S 1 | 這代表{SAY} | this means that {SAY}.
S 1 | 假設{SAY} | suppose that {SAY}
S 1 | 我們的問題是{SAY} | our problem is that {SAY}.
S 1 | 今天要講的是{METHX} | what we talk about today is {METHX}
S 1 | 我們來看{DATAX} | let us look at {DATAX}.
S 1 | 接下來我們要{ACT} | next, we are going to {ACT}.
S 1 | 什麼是{METHX}呢 | what {=be:METHX} {METHX}?
S 1 | 為什麼{WHO}要{ACT}呢 | why {=do:WHO} {WHO} have to {ACT}?
S 1 | {MODELX}可以{MACT}嗎 | can {MODELX} {MACT}?
S 1 | 怎麼{ACT}呢 | how do we {ACT}?
S 1 | 有沒有可能{SAY} | is it possible that {SAY}?
S 1 | 我先{ACT},再{ACT2} | I first {ACT}, then {ACT2}.
S 1 | 不要{ACT} | do not {ACT}
S 1 | 請大家記得{ACT} | please remember to {ACT}.
S 1 | {ACT}是一件{ADVERB}{ADJ}的事情 | {ACT:ing} is {ADVERB} {ADJ}.
S 1 | {METHX}的目的是{ACT} | the purpose of {METHX} is to {ACT}.
S 1 | {METHX}有{NUM}個好處 | {METHX} {=have:METHX} {NUM} advantages.
S 1 | 這邊有{DATAX} | here {=be:DATAX} {DATAX}
S 1 | 過去有人用{METHX}來{ACT} | in the past, someone used {METHX} to {ACT}.
S 1 | 一般的做法是{ACT} | the usual approach is to {ACT}.
S 1 | 最後的結果告訴我們{SAY} | the final results tell us that {SAY}.
S 1 | {QTYX}等於百分之{PERCENT} | {QTYX} {=be:QTYX} equal to {PERCENT} percent.
S 1 | {QTYX}從百分之{PERCENT}掉到百分之{PERCENT2} | {QTYX} {=drop:QTYX} from {PERCENT} percent to {PERCENT2} percent.
S 1 | 準確率達到百分之{PERCENT} | the accuracy reaches {PERCENT} percent.
S 1 | 有{NUM}個同學問我{SAY}嗎 | {NUM} students asked me whether {SAY}.
S 1 | 昨天{WHO}說{SAY} | yesterday, {WHO} said that {SAY}.
S 1 | 右邊這張圖片是{DATAX} | the picture on the right is {DATAX}.
S 1 | 左邊的{model}是{MODELX} | the {model} on the left is {MODELX}.
S 1 | 第{ORD}個步驟是{ACT} | the {ORD} step is to {ACT}.
S 1 | {METHN}跟{METHN2}有什麼不一樣 | what is the difference between {METHN} and {METHN2}?
S 1 | 舉例來說,{SAY} | for example, {SAY}.
S 1 | 換句話說,{SAY} | in other words, {SAY}.
S 1 | 也就是說,{SAY} | that is to say, {SAY}.
S 1 | 除了{METHX}以外,還有{METHX2} | besides {METHX}, there {=be:METHX2} also {METHX2}.
S 1 | 不管{WHO}怎麼{ACT},{SAY} | no matter how {WHO} {ACT:WHO}, {SAY}.
S 1 | 越{DEGREE}越好 | the {DEGREE:er} the better.
S 1 | {QTYX}越{DEGREE}越好 | the {DEGREE:er} {QTYX}, the better.
S 1 | 沒有人知道{SAY} | nobody knows that {SAY}.
S 1 | 我相信{SAY} | I believe that {SAY}
S 1 | {MODELX}的前面是{MODELX2} | in front of {MODELX} is {MODELX2}.
S 1 | {PARTX}在{MODELX}裡面 | {PARTX} {=be:PARTX} in {MODELX}.
S 1 | 你可能會問,為什麼{SAY}呢 | you may ask why {SAY}.
S 1 | 記得把{DATAX}交給助教 | remember to give {DATAX} to the TA.
S 1 | 下個星期我們再{ACT} | next week, we will {ACT}.
S 1 | 有一個更{ADJ}的做法 | there is an approach that is {ADJ:er}.
S 1 | 原來{SAY} | it turns out that {SAY}.
S 1 | 看起來{SAY} | it looks like {SAY}
S 1 | {WHO}花了{NUM}個小時{ACT} | {WHO} spent {NUM} hours {ACT:ing}.
S 1 | 直接{ACT}就好 | just {ACT}.
S 1 | 其中一個原因是{SAY} | one of the reasons is that {SAY}.
S 1 | 我們希望{SAY} | we hope that {SAY}.
S 1 | 講到這邊,大家有沒有問題 | so far, do you have any questions?
S 1 | 是不是{SAY}呢 | is it true that {SAY}?
S 1 | 只有{WHO}才能{ACT} | only {WHO} can {ACT}.
S 1 | 這就是{METHX} | this is {METHX}.
S 1 | 我們重新{ACT}一次 | we {ACT} once again.
S 1 | 就算{SAY},也沒有關係 | even if {SAY}, it does not matter.
"""

# Fillers that a sentence may begin with.
_FILLERS = """
TALK 8 | {S} | {S}
TALK 1.2 | 那{S} | so {S}
TALK 0.6 | 好,{S} | OK, {S}
TALK 0.8 | 好,那{S} | OK, so {S}
TALK 0.8 | 呃,{S} | {S}
TALK 0.8 | 那,呃,{S} | so {S}
TALK 0.8 | 這個,{S} | well, {S}
TALK 0.8 | 其實{S} | actually, {S}
TALK 0.8 | 然後{S} | and then {S}
TALK 0.8 | 就是說,{S} | I mean, {S}
TALK 0.6 | 當然{S} | of course, {S}
TALK 0.6 | 所以呢,{S} | so, {S}
"""


def make_grammar() -> Grammar:
    """The whole grammar, with use counts of zero. The start symbol is TALK."""
    text = _KINDS + _VERB_PHRASES + _CLAUSES + _SENTENCES + _FILLERS
    for kind in NOUNS:
        text += _NOUN_PHRASES.replace("thing", kind).replace("THING", kind.upper())
    return Grammar.of([*parse_rules(text), *term_rules()])


def sentence_patterns(grammar: Grammar) -> list[Rule]:
    """The rules for whole sentences and clauses."""
    return [*grammar.rules["S"], *grammar.rules["SAY"]]


def english_terms(grammar: Grammar) -> set[str]:
    """The English terms on the Mandarin side; some have two words."""
    texts = [_SLOT.sub(",", rule.mandarin) for rules in grammar.rules.values() for rule in rules]
    return {term.strip() for text in texts for term in _TERM.findall(text)}


def rare_words(grammar: Grammar) -> set[str]:
    """English words that occur only in rare rules."""
    rare, common = set[str](), set[str]()
    for rules in grammar.rules.values():
        for rule in rules:
            words = _TERM.findall(_SLOT.sub(",", rule.mandarin))
            (rare if rule.weight <= RARE else common).update(w for term in words for w in term.split())
    return rare - common
