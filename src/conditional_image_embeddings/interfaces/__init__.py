"""An embedder as other libraries expect one: as a sentence-transformers model, as an mteb model.

Each file needs the library that it is named after, which an extra of this package brings; this file loads none.
"""
