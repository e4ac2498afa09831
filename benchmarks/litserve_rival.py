"""The rival that batches too: LitServe, a process for HTTP and one for the model. `serving.py` starts it.

python benchmarks/litserve_rival.py MODEL PORT
"""

import base64
import sys
from typing import Any

import litserve
import litserve.server

litserve.server._MCP_AVAILABLE = False  # LitServe 0.2.19 takes an older `mcp` for granted where there is one


class Embeddings(litserve.LitAPI):
    """A model, which takes what has come as one call of `encode`."""

    def __init__(self, model: str, **how: Any) -> None:
        super().__init__(**how)
        self.model = model

    def setup(self, device: str) -> None:
        import conditional_image_embeddings as cie

        self.embedder = cie.load(self.model, device=device)

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        return request

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return inputs

    def predict(self, asked: list[dict[str, Any]]) -> Any:
        images = [image_of(each) for each in asked]
        return self.embedder.encode(images, asked[0]["conditions"], show_progress_bar=False)  # all ask for the same

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return answered(output)


def image_of(asked: dict[str, Any]) -> bytes:
    """The image of a request, which is a data URI."""
    return base64.b64decode(asked["input"].partition(",")[2])


def answered(vectors: Any) -> dict[str, Any]:
    """One image's vectors (K, d) as OpenAI's API writes them."""
    return {"data": [{"embedding": base64.b64encode(row.tobytes()).decode()} for row in vectors]}


if __name__ == "__main__":
    api = Embeddings(sys.argv[1], max_batch_size=64, batch_timeout=0.01, api_path="/v1/embeddings")
    server = litserve.LitServer(api, accelerator="cpu", devices=1, timeout=False)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
