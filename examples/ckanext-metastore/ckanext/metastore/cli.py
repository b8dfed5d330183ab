"""`ckan metastore …`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click
from ckanext.metastore import outbox, settings
from ckanext.metastore.reconcile import Step, dataset_ids, import_activities, pages, public_ids, withdraw
from ckanext.metastore.reconcile import reconcile as reconcile_all
from ckanext.metastore.sync import Recorder

from metastore import MetastoreError


@click.group(short_help="Versions of datasets, kept in MetaStore.")
def metastore() -> None:
    """Keep CKAN and MetaStore in step."""


@metastore.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--purge", is_flag=True, help="Remove the history of datasets that CKAN no longer has.")
@click.option("--yes", is_flag=True, help="Go on even if CKAN has less than half of the datasets in MetaStore.")
@click.option("--jobs", type=click.IntRange(1, 5), default=1, show_default=True, help="How many to compare at a time.")
@click.option("--after", metavar="ID", default="", help="Only datasets after this id, where an earlier run ended.")
def reconcile(dry_run: bool, purge: bool, yes: bool, jobs: int, after: str) -> None:
    """Record what was missed. The second time there is nothing to do.

    Ends with 1 if a dataset could not be brought in step.
    """
    if not dry_run:
        _drain()
    counts = _run(dry_run=dry_run, purge=purge, yes=yes or dry_run, jobs=jobs, after=after)
    click.echo(_summary(counts) + (" (nothing was done)" if dry_run else ""))
    sys.exit(1 if counts["failed"] else 0)


@metastore.command()
def status() -> None:
    """Say whether MetaStore is reached, and which datasets are out of step. Ends with 1 if any are."""
    waiting, purges, refused = len(outbox.waiting()), outbox.waiting_purges(), outbox.refused()
    click.echo(f"datasets with changes that wait: {waiting}")
    if purges:
        click.echo(f"purged datasets whose histories are not removed yet: {', '.join(purges)}")
    for uuid, problem in refused:
        click.echo(f"{uuid}: MetaStore refuses a change: {problem}", err=True)
    click.echo(f"store: {_recorder() and settings.current().place}")
    counts = _run(dry_run=True, yes=True)
    click.echo(_summary(counts))
    in_step = not (set(counts) - {"unchanged"} or waiting or refused)
    click.echo("in step" if in_step else "out of step: run `ckan metastore reconcile`")
    sys.exit(0 if in_step else 1)


@metastore.command()
def drain() -> None:
    """Record the changes that wait for MetaStore. Ends with 1 if some still do."""
    _recorder()
    _drain()
    sys.exit(1 if outbox.waiting() else 0)


@metastore.command("import-activities")
@click.option(
    "--include-private",
    is_flag=True,
    help="Also datasets that are private, deleted or drafts today. Only if nobody but the portal can read MetaStore.",
)
def import_activities_command(include_private: bool) -> None:
    """Turn CKAN's activities into revisions, with their dates and authors.

    Only for datasets that are public today and have no history in MetaStore. Needs CKAN's plugin `activity`, and for a
    service a token with the action `import`.
    """
    recorder = _recorder()
    there, public, counts = set(recorder.recorded()), public_ids(), Counter[str]()
    with click.progressbar(dataset_ids(), label="Importing", file=sys.stderr) as bar:
        for uuid in bar:
            if recorder.id_of(uuid) in there:
                counts["passed over"] += 1
            elif uuid not in public and not include_private:
                counts["not public, passed over"] += 1
            else:
                counts.update(_imported(uuid))
    click.echo(_summary(counts))
    click.echo("Now run `ckan metastore reconcile`: activities do not tell everything.")
    sys.exit(1 if counts["failed"] else 0)


def _imported(uuid: str) -> dict[str, int]:
    try:
        revisions = import_activities(settings.recorder(), uuid, emails=settings.current().emails)
    except MetastoreError as error:
        click.echo(f"\n{uuid}: {type(error).__name__}: {error}", err=True)
        return {"failed": 1}
    return {"revisions": revisions, "datasets": bool(revisions)}


def _recorder(*, dry_run: bool = False) -> Recorder:
    try:
        return settings.recorder(dry_run=dry_run)
    except MetastoreError as error:
        raise click.ClickException(str(error)) from None


def _drain() -> None:
    """Record the changes that wait, so that each has its own author and message."""
    if left := outbox.drain_all():
        click.echo(f"datasets whose changes still wait: {left}", err=True)


def _run(*, dry_run: bool, yes: bool, purge: bool = False, jobs: int = 1, after: str = "") -> Counter[str]:
    recorder = _recorder(dry_run=dry_run)
    try:
        recorded = set(recorder.recorded())
        # Asked for afterwards, so that a dataset that is created meanwhile is not taken for gone.
        ids = dataset_ids()
        gone = sorted(recorded - {recorder.id_of(uuid) for uuid in ids})
        if len(gone) * 2 > len(recorded) and not yes:
            raise click.ClickException(
                f"CKAN does not have {len(gone)} of the {len(recorded)} datasets of {recorder.owner} in MetaStore: do "
                "they belong to another portal? If not, say --yes"
            )
        counts: Counter[str] = Counter()
        with click.progressbar(length=len(gone) + len(ids), label="Comparing", file=sys.stderr) as bar:
            for step in withdraw(recorder, gone, purge=purge):
                _count(step, counts, bar)
            for step in reconcile_all(lambda: settings.recorder(dry_run=dry_run), pages(after), jobs=jobs):
                _count(step, counts, bar)
                after = step.dataset
    except MetastoreError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise click.ClickException(f"interrupted; to go on from here: --after {after}") from None
    return counts


def _count(step: Step, counts: Counter[str], bar: Any) -> None:
    counts[step.outcome.action if step.outcome else "failed"] += 1
    _tell(step)
    bar.update(1)


def _tell(step: Step) -> None:
    if step.outcome is None:
        click.echo(f"{step.dataset}: {step.problem}", err=True)
    elif step.outcome.action != "unchanged":
        click.echo(f"{step.outcome.dataset_id}: {step.outcome.action}")


def _summary(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {action}" for action, count in sorted(counts.items())) or "nothing to do"
