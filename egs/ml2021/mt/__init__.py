"""Translation of transcripts to English text: training, translators of any kind, CTranslate2, decoding.

st may import all of it; it never imports asr, st or report.
"""
