"""A program that uses everything public: mypy must accept it in strict mode (`make lint`)."""

from __future__ import annotations

from pathlib import Path

import phototag
from phototag import (
    Balance,
    CountBy,
    DataError,
    DecodeError,
    DecodeOn,
    Device,
    Failure,
    FailureKind,
    LockedError,
    Metrics,
    MissingDatabaseError,
    ModelError,
    NovelTier,
    ObjectStorageError,
    Photo,
    PhotoState,
    PhotoTagError,
    Precision,
    Query,
    Rank,
    Reason,
    RuntimeName,
    RuntimeUnavailableError,
    S3Path,
    SchemaError,
    SortKey,
    Source,
    Store,
    StoreError,
    Tag,
    TaggedPhoto,
    Tagger,
    TagReport,
    Taxonomy,
    TaxonomyError,
    TrainingConfig,
    TrainingResult,
    Tune,
    UsageError,
    evaluate,
    train,
)


def learn(data: Path) -> float:
    result: TrainingResult = train(
        data, config=TrainingConfig(tune=Tune.HEADS, balance=Balance.AUTO, device=Device.CPU), output="animals"
    )
    taxonomy: Taxonomy = result.model.header.taxonomy
    names: tuple[str, ...] = taxonomy.superclasses
    print(names, phototag.__version__)
    metrics: Metrics = evaluate(data, model=result.model)
    return metrics.hierarchical_f1 or 0.0


def describe(row: TaggedPhoto) -> str:
    rank: Rank | None = row.rank
    if row.reason is Reason.NOVEL_SUBCLASS:
        return f"{row.path}: an unknown {row.superclass}"
    if row.state is not PhotoState.OK or row.source is Source.HUMAN:
        return f"{row.path}: {row.state}"
    return f"{row.path}: {row.superclass}/{row.subclass} ({rank}, {row.subclass_score or 0:.0%})"


def tag(folder: Path, database: Path) -> list[str]:
    try:
        with (
            Tagger("animals", runtime=RuntimeName.TORCH, precision=Precision.F32, decode_on=DecodeOn.CPU) as tagger,
            Store.open(database) as store,
        ):
            tags: list[tuple[Path | S3Path, Tag | Failure]] = list(tagger.predict(folder))
            for path, found in tags:
                if isinstance(found, Failure):
                    photo: Photo = found.photo
                    print(photo.path, photo.size_bytes, found.kind is FailureKind.TRUNCATED)
                else:
                    print(path, found.rank, found.novelty)
            report: TagReport = tagger.tag([folder], store)
            print(report.tagged, report.failures)
            print(store.count_by(Query(), CountBy.SUBCLASS).most_common(3))
            return [
                describe(row)
                for row in store.query(
                    Query(superclass="bird", novel=NovelTier.ANY, min_score=0.5, sort=SortKey.NOVELTY)
                )
            ]
    except (DataError, DecodeError, LockedError, MissingDatabaseError, ModelError, SchemaError) as error:
        return [str(error)]
    except (ObjectStorageError, RuntimeUnavailableError, StoreError, TaxonomyError, UsageError) as error:
        return [f"{type(error).__name__}: {error}"]
    except PhotoTagError as error:
        raise SystemExit(str(error)) from error
