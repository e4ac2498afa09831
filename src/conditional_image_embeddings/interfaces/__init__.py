"""An embedder as other libraries expect one: as a sentence-transformers model, as an mteb model.

mteb comes with the extra of its name; this file loads neither.
"""
