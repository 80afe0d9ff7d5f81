"""What is added to the score of a hypothesis: n-gram and LSTM language models and their training, hotwords.

search, decode, export and st may import all of it; it imports training and lhotse_prep.
"""
