"""Translation by a chat model (a large language model) of the transformers library.

mt and st may import all of it; it imports only mt.terms.
"""
