"""Open the source that `source.kind` names; no other module depends on the kind.

Each case imports its own modules: `csrdata.pipeline.code` follows the cases of the kinds in use, so that the stages of a
project depend only on the code of that project's source.
"""

from pathlib import Path

from csrdata import paths
from csrdata.sections.sources import AnySource, MicroworldSource
from csrdata.sources.base import Source


def open_source(settings: AnySource, *, images: Path = Path()) -> Source:
    """Return the project's source. A new kind needs a case here and a section in `csrdata.sections`.

    Args:
        settings: the section `source`.
        images: the images root.
    """
    match settings.kind:
        case "microworld":
            from csrdata.sources.microworld.source import Microworld

            return Microworld(
                paths.SCENES, questions_per_image=settings.questions_per_image, seed=settings.seed
            )
        case "llava":
            from csrdata.sources.llava import Llava

            return Llava(images, tuple(map(Path, settings.files)), settings.folder)
        case "table":
            from csrdata.sources.table import Columns, Table

            columns = Columns(
                settings.image_column, settings.prompt_column, settings.id_column, settings.kind_column
            )
            return Table(Path(settings.file), columns)
        case "folder":
            from csrdata.sources.folder import Folder

            return Folder(images, settings.folder, tuple(settings.prompts))
        case "hub":
            from csrdata.sources.hub import HubDataset
            from csrdata.sources.table import Columns

            columns = Columns(
                settings.image_column, settings.prompt_column, settings.id_column, settings.kind_column
            )
            return HubDataset(
                images,
                repo_id=settings.id,
                asked=settings.revision,
                config=settings.config,
                split=settings.split,
                columns=columns,
                folder=settings.folder,
            )


def exclude_file(settings: AnySource) -> Path | None:
    """Return the file `source.exclude`, or None if nothing is excluded."""
    excluded = None if isinstance(settings, MicroworldSource) else settings.exclude
    return None if excluded is None else Path(excluded)


def source_files(settings: AnySource, *, images: Path = Path()) -> list[Path]:
    """Return the files that `sample_prompts` reads: its dependencies, the images aside."""
    excluded = exclude_file(settings)
    return [*open_source(settings, images=images).files(), *([] if excluded is None else [excluded])]
