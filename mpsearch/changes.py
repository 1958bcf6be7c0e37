"""What of a study's space file changed since the study was made, as far as can be told without Keras."""

import difflib
from collections.abc import Sequence

from mpsearch.errors import DataMissingError, MpsearchError, StudyError
from mpsearch.objective import ForgivingFactor
from mpsearch.provenance import Provenance
from mpsearch.records import State
from mpsearch.spacefile import PYTHON_OBJECTS, SpaceFile, find_space_file, load_space_file
from mpsearch.study import Study

DIFFERENCE_LINES = 40


def space_file_of(study: Study) -> SpaceFile:
    """The space file that a study was made of, as it is now, with widths that the study's device can use.

    Raises:
        StudyError: it isn't where it was, or there never was one.
    """
    if study.provenance.space_path == str(PYTHON_OBJECTS):
        raise StudyError(
            f"`{study.name}` was made from Python objects, not from a space file: go on with it by "
            f"mpsearch.search(…, name={study.name!r})"
        )
    try:
        file = load_space_file(find_space_file(study.provenance.space_path))
    except DataMissingError as error:
        raise StudyError(
            f"the space file of `{study.name}` isn't where it was: put it back, or run from the folder in which the "
            f"study was created ({error})"
        ) from error
    return file.narrowed(study.goal)


def check_file(study: Study, file: SpaceFile, accept: bool = False) -> None:
    """Refuse a changed space file by what can be seen before data is loaded or a model built.

    Raises:
        StudyError: trials have begun, and the file changed without `accept`; or there are trials, and its scores can't
            be compared with the study's.
    """
    if file.hash == study.provenance.space_hash or not study.records():
        return
    refuse_other_scores(study, file, scoring_differences(study, file))
    if has_begun(study) and not accept:
        raise unaccepted(study, text_difference(study, file))


def has_begun(study: Study) -> bool:
    """Whether a study has a trial that isn't merely queued."""
    return any(record.state is not State.WAITING for record in study.records())


def scoring_differences(study: Study, file: SpaceFile) -> list[str]:
    """What of the score differs between a study and its file."""
    was = study.provenance
    found = []
    if was.metric != file.task.metric:
        found.append(f"metric: {was.metric} in the study, {file.task.metric} now")
    forgiving = forgiving_of(was, file)
    if forgiving is not None and forgiving != file.forgiving:
        found.append(f"forgiving factor: {forgiving} in the study, {file.forgiving} now")
    return found


def forgiving_of(was: Provenance, file: SpaceFile) -> ForgivingFactor | None:
    """A study's Forgiving Factor; studies of format 1 know it by their space file's text alone."""
    if was.forgiving is not None:
        return ForgivingFactor(**was.forgiving)
    try:
        return load_space_file(file.path, was.space_text).forgiving
    except MpsearchError:
        return None  # the old text no longer runs; nothing else knows


def refuse_other_scores(study: Study, file: SpaceFile, differences: Sequence[str]) -> None:
    """Refuse to go on where scores would mean something else than before.

    Raises:
        StudyError: there are differences.
    """
    if differences:
        raise StudyError(
            f"the scores of `{study.name}` can't be compared with new ones: create a new study with --name, or undo "
            "the change\n" + "\n".join([*differences, *text_difference(study, file)])
        )


def unaccepted(study: Study, shown: Sequence[str]) -> StudyError:
    """The error for a change that may be accepted, but wasn't."""
    return StudyError(
        f"what `{study.name}` was made of changed; to go on all the same give --accept-change (from Python "
        "accept_change=True): earlier trials stay, marked as trained before the change\n" + "\n".join(shown)
    )


def text_difference(study: Study, file: SpaceFile) -> list[str]:
    """Lines that show how the space file's text changed."""
    was = study.provenance
    if was.space_hash == file.hash:
        return []
    lines = difflib.unified_diff(
        was.space_text.splitlines(), file.text.splitlines(), "in the study", str(file.path), lineterm="", n=1
    )
    return list(lines)[:DIFFERENCE_LINES] or ["a module that the space file imports changed"]
