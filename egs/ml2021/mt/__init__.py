"""Translation of transcripts to English text: training, published models, CTranslate2, decoding.

st may import all of it; it never imports asr, st or report.
"""
