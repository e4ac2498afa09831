"""What is asked and answered, as the OpenAPI description says it. Unknown fields are refused, never ignored."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ...inputs.conditions import MAX_CONDITION_LENGTH
from ...inputs.prompts import PROMPTS

MOST = 100_000  # of anything in a list; what a server takes of it, its own limits say
TOKENS = "token ids are not taken: send the text itself, or an image"


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("this is no text: it has half of a character pair") from None  # caught
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Name = Annotated[Text, Field(max_length=1000)]
Condition = Annotated[Text, Field(min_length=1, max_length=4 * MAX_CONDITION_LENGTH, examples=["car color"])]
PromptType = Annotated[str, Field(max_length=100, json_schema_extra={"enum": list(PROMPTS)})]
PIXEL = (  # a red square
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mP8z4AdMDEMKQkAzUEBD7"
    "t4NqoAAAAASUVORK5CYII="
)


class Strict(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageObject(Strict):
    """An image: a data URI, base64 alone, or a URL whose host the server was told to fetch from."""

    image: str


class TextObject(Strict):
    """A text."""

    text: Text


def _without_tokens(given: Any) -> Any:
    first = given[0] if isinstance(given, list) and given else None
    if isinstance(first, int | list) and not isinstance(first, bool):
        raise ValueError(TOKENS)  # caught
    return given


One = Text | ImageObject | TextObject
Input = Annotated[One | Annotated[list[One], Field(min_length=1, max_length=MOST)], BeforeValidator(_without_tokens)]


class ImageUrl(Strict):
    """Where an image is: a data URI, or a URL whose host the server was told to fetch from."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Strict):
    """An image of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(Strict):
    """A text of a message: after an image it is the condition."""

    type: Literal["text"]
    text: Text


class Message(Strict):
    """One message: of the user, since there is no conversation to embed."""

    role: Literal["user"]
    content: Text | Annotated[list[Annotated[ImagePart | TextPart, Field(discriminator="type")]], Field(max_length=16)]


class Asked(Strict):
    """What requests about inputs have in common."""

    model: Name | None = Field(default=None, description="As /v1/models lists it; may be left out.")
    input: Input | None = Field(
        default=None, description="Images and texts: a data URI is an image, another string a text.", examples=[PIXEL]
    )
    messages: list[Message] | None = Field(default=None, min_length=1, max_length=1, description="vLLM's form.")
    modality: Literal["image", "text"] | None = Field(default=None, description="What strings are (Infinity's form).")
    condition: Condition | None = Field(default=None, description="The aspect to look at.")
    conditions: list[Condition | None] | None = Field(
        default=None, min_length=1, max_length=MOST, description="Several aspects; null is no condition."
    )
    prompt_type: PromptType = "describe"
    user: Name | None = Field(default=None, description="Taken and not looked at.")


class EmbeddingsRequest(Asked):
    """Vectors of images and texts, one per condition."""

    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="base64: little-endian float32, as OpenAI's clients ask for."
    )
    dimensions: int | None = Field(default=None, ge=1, le=10**6, description="Keep the first so many dimensions.")
    normalize: bool = Field(default=False, description="Scale each vector to unit length.")
    layer: int = Field(default=-1, ge=-10_000, le=10_000, description="Index into the hidden states.")
    token: int = Field(default=-1, ge=-(10**6), le=10**6, description="Index into the prompt's tokens.")


class WordsRequest(Asked):
    """What the model would say of images under conditions."""

    k: int = Field(default=5, ge=1, le=100, description="Words per image and condition, at most.")


class Weighted(Strict):
    """A condition and its weight; negative ones push away."""

    condition: Condition | None
    weight: float = Field(default=1.0, ge=-1e6, le=1e6, allow_inf_nan=False)


class SearchRequest(Strict):
    """The images of the collection that are nearest to an image, an image of the collection, or a text."""

    image: str | None = Field(default=None, description="A data URI or base64.")
    image_id: Name | None = None
    text: Annotated[Text, Field(min_length=1, max_length=10_000)] | None = Field(default=None, examples=["red"])
    conditions: list[Condition | Weighted | None] = Field(
        default=[None], min_length=1, max_length=100, examples=[["car color"]]
    )
    k: int = Field(default=20, ge=1, le=1000)
    where: Annotated[Text, Field(max_length=10_000)] | None = Field(default=None, examples=["width > 500"])
    word: Name | None = None
    min_score: float | None = Field(default=None, ge=-1e6, le=1e6, allow_inf_nan=False)
    cut: Literal["auto"] | None = None
    exact: bool = False
    setting: Name = "*"


class Usage(BaseModel):
    """Tokens of every prompt in full, the image's among them; 0 where a method has no prompts."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class Embedding(BaseModel):
    """A vector: of the input `index`, under a condition."""

    object: Literal["embedding"] = "embedding"
    index: int
    condition: str | None
    embedding: list[float] | str


class EmbeddingsAnswer(BaseModel):
    """For each input, in their order, a vector per condition, in theirs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Word(BaseModel):
    """A word and its probability."""

    word: str
    probability: float


class Words(BaseModel):
    """The words of the input `index` under a condition, most probable first."""

    object: Literal["words"] = "words"
    index: int
    condition: str | None
    words: list[Word]


class WordsAnswer(BaseModel):
    """For each input, in their order, its words per condition."""

    object: Literal["list"] = "list"
    data: list[Words]
    model: str


class Hit(BaseModel):
    """As `cie search --json` prints it; "null" is no condition."""

    rank: int
    image_id: str
    path: str | None
    score: float
    scores: dict[str, float]
    percentiles: dict[str, float | None]
    words: dict[str, list[Word]]


class SearchAnswer(BaseModel):
    """What was found, the nearest first."""

    object: Literal["list"] = "list"
    data: list[Hit]
    images: int
    cut: float | None
    exact: bool


class Model(BaseModel):
    """What is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    method: str | None
    conditions: Literal["none", "optional", "required"] | None
    words: bool | None


class ModelsAnswer(BaseModel):
    """There is one."""

    object: Literal["list"] = "list"
    data: list[Model]


class Problem(BaseModel):
    """What was wrong, in one line."""

    message: str
    type: str
    param: str | None
    code: str | None


class ProblemAnswer(BaseModel):
    """Every answer that is no success."""

    error: Problem
