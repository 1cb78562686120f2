"""The choices that the command line offers. Nothing heavy is imported, so that help and completion answer at once."""

from __future__ import annotations

from enum import StrEnum

DEFAULT_BATCH_SIZE = 32
LARGEST_SEED = 2**63 - 1
MIN_GROUP_SIZE = 5
"""The fewest photos of a group of novel ones."""


class Device(StrEnum):
    """Where a network runs.

    >>> with phototag.Tagger("animals", device=phototag.Device.CPU) as tagger:
    ...     tagger.target.device.value
    'cpu'
    """

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class RuntimeName(StrEnum):
    """What runs a network.

    >>> with phototag.Tagger("animals", runtime=phototag.RuntimeName.TORCH) as tagger:
    ...     tagger.target.runtime.value
    'torch'
    """

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """The numbers a network computes with. Photos that a faster one than F32 leaves in doubt are computed again.

    >>> phototag.Precision("bf16").name
    'BF16'
    """

    AUTO = "auto"
    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    INT8 = "int8"


class DecodeOn(StrEnum):
    """Where JPEG files are decoded.

    >>> [choice.value for choice in phototag.DecodeOn]
    ['cpu', 'gpu']
    """

    CPU = "cpu"
    GPU = "gpu"


class OutputFormat(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    PATHS = "paths"


class SortKey(StrEnum):
    """What the rows of a query are sorted by.

    >>> phototag.Query(sort=phototag.SortKey.NOVELTY, descending=True).limit is None
    True
    """

    PATH = "path"
    TAGGED = "tagged"
    TAKEN = "taken"
    SUPERCLASS_SCORE = "superclass_score"
    SUBCLASS_SCORE = "subclass_score"
    NOVELTY = "novelty"


class CountBy(StrEnum):
    """What photos are counted by.

    >>> [by.value for by in phototag.CountBy]
    ['superclass', 'subclass', 'rank', 'reason', 'source', 'model', 'state', 'camera', 'month']
    """

    SUPERCLASS = "superclass"
    SUBCLASS = "subclass"
    RANK = "rank"
    REASON = "reason"
    SOURCE = "source"
    MODEL = "model"
    STATE = "state"
    CAMERA = "camera"
    MONTH = "month"  # in which they were taken


class ReviewOrigin(StrEnum):
    """Where a review comes from."""

    REVIEW = "review"  # a person looked at this photo and its tag
    IMPORT = "import"  # a file of labels
    NAMED = "named"  # a person named a group of photos


class StrataBy(StrEnum):
    """What the parts of a library are that a sample takes photos from."""

    SUPERCLASS = "superclass"
    SUBCLASS = "subclass"
    SCORE = "score"  # bands of the subclass score
    RANK = "rank"
    FOLDER = "folder"  # the first folder below the one that all photos share
    GROUP = "group"  # photos that belong together: some groups are taken, where of other parts each gives photos
    EVENT = "event"  # groups as well: photos that one camera took within seconds of each other


CLUSTERS = (StrataBy.GROUP, StrataBy.EVENT)
"""The parts of which some are sampled whole, or in parts, where others give photos each."""


class Allocation(StrEnum):
    """How many photos each stratum gives."""

    PROPORTIONAL = "proportional"  # in proportion to its photos
    NEYMAN = "neyman"  # and to how uncertain its tags are, by their scores
    EQUAL = "equal"  # as many from each, to know each one


class Focus(StrEnum):
    """Which photos are chosen when they are not sampled at random."""

    LOWEST = "lowest"  # the lowest scores of what the tags say
    CONFUSABLE = "confusable"  # the least ahead of the second-best subclass


class By(StrEnum):
    """What the rows of a report are."""

    SUPERCLASS = "superclass"
    SUBCLASS = "subclass"
    STRATUM = "stratum"
    FOLDER = "folder"


class Scored(StrEnum):
    """Which photos a model is to score that it has not seen."""

    NONE = "none"
    REVIEWED = "reviewed"  # enough to say which of two models is better
    ALL = "all"


class GroupsBy(StrEnum):
    """What tells which labelled pictures belong together, so that they stay on one side of every split.

    >>> phototag.TrainingConfig(groups="folder").groups.value
    'folder'
    """

    AUTO = "auto"
    COLUMN = "column"
    FOLDER = "folder"
    NONE = "none"


class PrecisionBasis(StrEnum):
    """What stands behind the precision of stored labels of a level, where thresholds were chosen by reviewed photos."""

    CERTIFIED = "certified"
    ESTIMATED = "estimated"
    LIKELY = "likely"
    NONE = "none"


class Tune(StrEnum):
    """How much of the network learns.

    >>> phototag.TrainingConfig(tune=phototag.Tune.HEADS).tune.value
    'heads'
    """

    AUTO = "auto"
    HEADS = "heads"
    LAST = "last"
    FULL = "full"


class Balance(StrEnum):
    """What is done about classes of unequal size.

    >>> phototag.TrainingConfig(balance=phototag.Balance.NONE).balance.value
    'none'
    """

    AUTO = "auto"
    NONE = "none"
    SAMPLER = "sampler"
    LOSS = "loss"
    LOGITS = "logits"
    MIX = "mix"


LEAST_TARGET, HIGHEST_TARGET = 0.5, 0.999
"""What can be asked of a precision. Below, a label says little; above, it takes thousands of pictures without fault."""

KEEP_KNOWN = 0.94
"""The default share of right subclasses that is kept when photos are called novel."""

KEEP_KNOWN_WITH_TARGET = 0.99
"""The same with a target precision: naming one asks for as many labels as it allows."""

LEAST_KEPT = 0.5
"""The least share of right labels that may be left when photos are called novel."""
