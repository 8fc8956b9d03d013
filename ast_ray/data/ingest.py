"""From a source to a dataset in the cache: list, look at headers, decode and resize in parallel, write as it comes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ast_ray.config.settings import DataConfig
from ast_ray.data.cache import CacheWriter, cache_path, read_cached
from ast_ray.data.decode import DecodeJob, Probe, ProbeJob, Target, decode_chunk, derived_target, probe_chunk
from ast_ray.data.parallel import Mapper, Progress, no_progress, threads
from ast_ray.data.sources.base import DecodedDataset, Listing, Source, check_labels, check_names, checked
from ast_ray.data.sources.chunks import Chunk, Failure
from ast_ray.data.splits import held_out
from ast_ray.errors import DataError, ResourceError, counted
from ast_ray.storage.atomic import atomic_path

_NAMED, _LONGEST = 5, 200
_DARK = 2**14  # largest value of 16-bit images below which they use a quarter of the levels at most


def decoded(
    source: Source, config: DataConfig, *, mapper: Mapper = threads, progress: Progress = no_progress
) -> tuple[DecodedDataset, str]:
    """Return a source's dataset and content id, from the cache or by decoding and filling it.

    A cache that cannot be written is no error: the dataset then lies in a temporary file for as long as it is used.

    Raises:
        DataError: images or annotations that cannot be used (all counted, the first named), or nothing left of them.
    """
    path = cache_path(source, config)
    found = read_cached(path)
    if found is not None:
        return found
    listing = open_listing(source, config)
    try:
        with atomic_path(path) as temporary:
            return _fill(temporary, source, listing, config, mapper, progress)
    except ResourceError:
        with tempfile.TemporaryDirectory() as folder:
            return _fill(Path(folder) / path.name, source, listing, config, mapper, progress)


def open_listing(source: Source, config: DataConfig) -> Listing:
    """List a source, hold out a test split where there is none, and refuse what is unusable already.

    Raises:
        DataError: a single or duplicate classes, no images, or (without skip_corrupt) unusable annotations and classes.
    """
    listing = source.listing()
    check_names(source.name, listing.class_names)
    check_labels(source.name, listing)
    if not listing.train:
        raise DataError(f"{source.name}: the train split holds no images")
    if listing.failures and not config.skip_corrupt:
        raise _unusable(source.name, listing.failures)
    if listing.test:
        return listing
    train, test = held_out(source.name, listing.train, listing.class_names, config.test_fraction)
    counts = [sum(len(chunk.labels) for chunk in chunks) for chunks in (train, test)]
    images = counted(sum(counts), "image")
    note = f"no test split of its own: {counts[1]} of {images} held out (test_fraction)"
    return replace(listing, train=train, test=test, notes=(*listing.notes, note), own_test=False)


def probe(listing: Listing, *, mapper: Mapper = threads, limit: int = 0) -> Probe:
    """Read the headers of all images, or of about ``limit`` of them, evenly spread."""
    chunks = [*listing.train, *listing.test]
    total = sum(len(chunk.labels) for chunk in chunks)
    if limit and total > limit:
        every = -(-total // limit)
        chunks = [chunk.take(range(0, len(chunk.labels), every)) for chunk in chunks]
    seen = Probe()
    for part in mapper(probe_chunk, [ProbeJob(number, chunk) for number, chunk in enumerate(chunks)]):
        seen = seen + part
    return seen


def target_of(source: Source, listing: Listing, config: DataConfig, *, mapper: Mapper = threads) -> tuple[Target, str]:
    """Size and channels to decode to, and a note of what the headers say (empty when nothing had to be looked at).

    Raises:
        DataError: no header can be read.
    """
    size = config.image_size or source.image_size
    if size and (config.channels != "auto" or source.colour):
        return Target(size, size, 1 if config.channels == "grey" else 3, config.resize), ""
    seen = probe(listing, mapper=mapper)
    if not seen.images:
        raise _unusable(source.name, _all_failures(listing))
    target = derived_target(seen, image_size=size, channels=config.channels, resize=config.resize)
    return target, _describe(seen, target)


def _describe(seen: Probe, target: Target) -> str:
    widths, heights = [size[0] for size in seen.sizes], [size[1] for size in seen.sizes]
    small, large = f"{min(widths)}x{min(heights)}", f"{max(widths)}x{max(heights)}"
    sizes = f"{small} px" if len(seen.sizes) == 1 else f"{len(seen.sizes)} sizes, {small} to {large} px"
    resized = "" if set(seen.sizes) == {(target.width, target.height)} else f" ({target.resize})"
    kinds = f"{seen.grey} grey, {seen.alpha} with transparency, of {seen.images}"
    return f"{sizes}, decoded to {target.width}x{target.height}{resized}; {kinds}, decoded to {_MODES[target.channels]}"


_MODES = {1: "grey", 3: "rgb"}


def _fill(
    path: Path, source: Source, listing: Listing, config: DataConfig, mapper: Mapper, progress: Progress
) -> tuple[DecodedDataset, str]:
    target, note = target_of(source, listing, config, mapper=mapper)
    failures = list(listing.failures)
    total = sum(len(chunk.labels) for chunk in (*listing.train, *listing.test))
    done = deep = deepest = 0
    splits: tuple[tuple[Literal["train", "test"], Sequence[Chunk]], ...]
    splits = (("train", listing.train), ("test", listing.test))
    facts = {"source": source.name, "class_names": list(listing.class_names)}
    jobs = [DecodeJob(number, chunk, target) for number, chunk in enumerate((*listing.train, *listing.test))]
    with CacheWriter(path, target, facts) as writer:
        results = mapper(decode_chunk, jobs)
        for split, chunks in splits:
            for chunk, part in zip(chunks, results, strict=False):
                writer.append(split, part.pixels, part.labels)
                failures += part.failures
                deep, deepest = deep + part.deep, max(deepest, part.deepest)
                done += len(chunk.labels)
                progress(f"decode {Path(source.name).name}", done, total)
        for _ in results:  # lets the mapper give its workers back
            pass
        if failures and not config.skip_corrupt:
            raise _unusable(source.name, failures)
        notes = [*listing.notes, *([note] if note else [])]
        warnings = [*listing.warnings, *([_skipped(source.name, failures)] if failures else [])]
        if 0 < deepest < _DARK:
            warnings.append(_dark(source.name, deep, deepest))
        writer.finish(notes, warnings)
    found = read_cached(path)
    assert found is not None, "the file just written cannot be read"
    checked(source.name, found[0], own_test=listing.own_test)
    return found


def _all_failures(listing: Listing) -> list[Failure]:
    return [
        failure
        for number, chunk in enumerate((*listing.train, *listing.test))
        for failure in decode_chunk(DecodeJob(number, chunk, Target(8, 8, 3))).failures
    ]


def _first(failures: Sequence[Failure]) -> str:
    named = [f"{failure.name[-_LONGEST:]} ({failure.reason[:_LONGEST]})" for failure in failures[:_NAMED]]
    return "; ".join(named)


def _dark(name: str, images: int, largest: int) -> str:
    """Return what to do about images of 16 bits that hold the 12 or so of a camera."""
    return (
        f"{name}: the largest value of {counted(images, '16-bit image')} is {largest} of 65535, so that they become "
        f"nearly black: {largest // 257 + 1} of 256 levels are left; if white is {2 ** largest.bit_length() - 1} in "
        f"them, save them multiplied by {2 ** (16 - largest.bit_length())}"
    )


def _things(failures: Sequence[Failure]) -> str:
    return counted(len(failures), "image, annotation or class", "images, annotations or classes")


def _unusable(name: str, failures: Sequence[Failure]) -> DataError:
    return DataError(
        f"{name}: {_things(failures)} cannot be used; first: {_first(failures)}; "
        "repair or remove them, or go on without them with data.skip_corrupt (--skip-corrupt)"
    )


def _skipped(name: str, failures: Sequence[Failure]) -> str:
    return f"{name}: went on without {_things(failures)}; first: {_first(failures)}"
