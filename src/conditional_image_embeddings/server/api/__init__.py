"""`cie serve`: the embedder behind an API that clients of OpenAI, Infinity and vLLM already speak."""
