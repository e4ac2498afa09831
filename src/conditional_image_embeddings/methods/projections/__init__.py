"""Linear maps from texts: the directions in which a condition's words vary, and images seen along them alone.

No model is needed here, only vectors: `indirect` and `clay` take texts and images already embedded, as numpy arrays.
"""
