"""The datasets that the settings name, and how each is read."""

from swarm.data.source import Source, parse_mapping
from swarm.evolution.config import SearchConfig


def source_of(config: SearchConfig, name: str) -> Source:
    """The data source of this name or path, with the names of its columns and splits as the settings have them.

    What is drawn for dev does not depend on the search's seed: runs that differ in it share their questions.
    """
    return Source(
        dataset=name,
        directory=config.data_directory,
        columns=parse_mapping(config.columns, "--columns") if config.columns else {},
        splits=parse_mapping(config.splits, "--splits") if config.splits else {},
        hub_config=config.hub_config,
        revision=config.data_revision,
        dev_size=config.dev_size,
        mend=not config.paper_code,
    )
