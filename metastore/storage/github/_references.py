"""Moving references on GitHub: all or none, and once, also where answers are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from metastore.errors import OutcomeUnknown, PermissionDenied, StorageBusy, StorageError, StorageUnavailable
from metastore.git.repository import HEADS
from metastore.http.fields import Fields
from metastore.http.responses import Missing, ResponseLost
from metastore.storage.github import _queries
from metastore.storage.github._api import GitHubApi
from metastore.storage.github._graphql import Move, Rejected

_TRIES = 3
#: How far behind the head a commit of ours is looked for, once others may have gone on from it.
_SOON_AFTER = 500


class Mover:
    """Moves the references of one repository.

    Args:
        api: The calls.
        name: The repository's name,
        node_id: and GitHub's own id of it: another repository of that name is not touched.
        behind: Yields the commits that a commit goes back to, itself first.
    """

    def __init__(self, api: GitHubApi, name: str, node_id: str, behind: Callable[[str], Iterator[str]]) -> None:
        self._api = api
        self._name = name
        self._node_id = node_id
        self._behind = behind

    def move(self, moves: Sequence[Move]) -> Mapping[str, str | None] | None:
        """Move references, all or none; return where they are if not where they should be, or None when it is done.

        A request is sent again only when a read shows that nothing has changed. Each move is compared with the state
        before, so it cannot be made twice.

        Raises:
            OutcomeUnknown: GitHub did not say, and stays away.
            PermissionDenied: The token's owner may not write.
            StorageError: GitHub cannot be asked, or refuses.
        """
        lost = False
        for _ in range(_TRIES):
            problem: Exception
            try:
                self._api.graph.move(self._node_id, moves)
                return None
            except ResponseLost as error:
                lost, problem = True, error
            except Rejected as error:
                problem = error
            except (StorageBusy, StorageUnavailable, PermissionDenied) as error:
                if lost:
                    raise self._unknown(error, moves) from error
                raise
            actual = self._where(moves, problem, lost)
            if actual is None:
                return None
            if any(actual[move.name] != move.before for move in moves):
                return actual
            if isinstance(problem, Rejected):
                if lost:
                    break
                raise _refusal(problem)
        raise self._unknown(problem, moves) from problem

    def _where(self, moves: Sequence[Move], problem: Exception, lost: bool) -> Mapping[str, str | None] | None:
        """Read where references are after a problem; None if they are where they were to go."""
        try:
            names = {f"name{number}": move.name for number, move in enumerate(moves)}
            answer = self._same(self._api.graph.repository(_queries.current_question(len(moves)), self._name, **names))
            where: dict[str, str | None] = {}
            for number, move in enumerate(moves):
                reference = answer.optional(f"ref{number}")
                where[move.name] = reference.below("target").oid("oid") if reference else None
            if lost and all(self._arrived(move, where[move.name]) for move in moves):
                return None
        except StorageError as error:
            if lost:
                raise self._unknown(error, moves) from problem
            raise
        return where

    def _same(self, answer: Fields | None) -> Fields:
        """Return an answer if it is about this very repository; otherwise it is gone, or another."""
        if answer is None or answer.text("id") != self._node_id:
            raise Missing(self._name)
        return answer

    def _arrived(self, move: Move, where: str | None) -> bool:
        """Tell whether a reference was moved, also where others have gone on from there."""
        if where == move.after:
            return True
        if where is None or move.after is None or not move.name.startswith(HEADS):
            return False
        for number, commit_id in enumerate(self._behind(where)):
            if commit_id == move.after:
                return True
            if commit_id == move.before or number == _SOON_AFTER:
                return False
        return False

    def _unknown(self, problem: Exception, moves: Sequence[Move]) -> OutcomeUnknown:
        intended = next((each.after for each in reversed(moves) if each.after), None) or str(moves[0].before)
        return OutcomeUnknown(f"GitHub did not say whether {self._name} was changed ({problem})", intended)


def _refusal(problem: Rejected) -> PermissionDenied:
    """Return why nothing was moved although everything was where it should be: a rule, an archive, a missing right."""
    if problem.forbidden:
        return PermissionDenied(f"GitHub does not allow the token's owner to write: {problem}")
    return PermissionDenied(f"GitHub refuses the change: {problem}")
