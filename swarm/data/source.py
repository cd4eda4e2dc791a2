"""`Source`: the dataset to read, with the names of its columns and splits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm.data.records import FIELDS
from swarm.data.tables import show
from swarm.errors import UserError

DIRECTORY = "data/eval"
SPLITS = ("dev", "test")


@dataclass(frozen=True)
class Source:
    """The dataset to read, with its revision, splits and columns.

    Attributes:
      dataset: a name in `directory`, the path of a file or a folder, or a hub id owner/name.
      columns: our field -> the column that holds it, where the two differ; fields are question, answer, choices, id,
        domain, context_chunks and split.
      splits: dev and test -> what the source calls them, where the two differ.
      hub_config, revision: which configuration and which state of a hub set.
      dev_size: how many rows of a source with one split only become dev, drawn by `seed`; the others become test.
      mend: make line breaks of literal backslash-n's in questions and chunks.

    Raises UserError for a mapping of what is no field or split of ours.
    """

    dataset: str
    directory: str = DIRECTORY
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    hub_config: str | None = None
    revision: str | None = None
    dev_size: int | None = None
    seed: int = 0
    mend: bool = False

    def __post_init__(self) -> None:
        for what, given, known in (("--columns", self.columns, FIELDS), ("--splits", self.splits, SPLITS)):
            for name in given:
                if name not in known:
                    swapped = f"; did you mean {given[name]}={name}?" if given[name] in known else ""
                    wanted = f"one of {', '.join(known)} before the ={swapped}"
                    raise UserError(f"{what} maps {show(name)}, wanted {wanted}; rename it")

    def split(self, ours: str) -> str:
        """The source's own name of the split dev or test."""
        return self.splits.get(ours, ours)

    @property
    def changes_nothing(self) -> bool:
        """Whether the examples are those of the source, none mapped, drawn or mended."""
        return not (self.columns or self.splits or self.dev_size is not None or self.mend)


def parse_mapping(text: str, what: str) -> dict[str, str]:
    """{"question": "problem"} for "question=problem"; pairs are parted by commas, blanks around names are dropped.

    Args:
      what: the option that the text is from, for messages.

    Raises UserError for a text that is not made so, or that names something twice.
    """
    mapping: dict[str, str] = {}
    for pair in text.split(","):
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and equals and theirs):
            raise UserError(f"{what} is {show(text)}, wanted pairs such as ours=theirs,ours=theirs; mend {show(pair)}")
        if ours in mapping:
            raise UserError(f"{what} is {show(text)}, which names {ours} twice; drop one of them")
        mapping[ours] = theirs
    return mapping
