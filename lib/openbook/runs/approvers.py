"""Who may sign on a desk: `approvers.yaml`, beside `openbook.yaml`, with a public key and limits for each person.

    two_above: 250000  # USD of a batch above which two people sign; leave out for never
    approvers:
      - name: Ann
        key: 8mZx…=  # as printed by openbook key
        approve_up_to: 100000  # USD of a batch; leave out for no limit
        may: [approve, reset]

A machine that signs heads of the log has an entry of its own, with `may: [witness]`.

A key is retired by emptying its `may`: what it signed before is still checked with it.
"""

import json
import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from openbook.common import desk_folder
from openbook.common.errors import ApprovalError, ParameterError, UsageError
from openbook.common.settings import Settings
from openbook.common.signatures import is_public_key
from openbook.common.strict_yaml import in_words, parse_yaml
from openbook.common.text import require_line
from openbook.runs.key_files import read_with_mode, require_outside

FILE = "approvers.yaml"
LARGEST = 1e12  # USD, as for every amount of a book
Act = Literal["approve", "promote", "reset", "witness"]


class Approver(Settings):
    """One person of the desk, and what the person's signature is good for."""

    name: str = Field(max_length=90, description="as in --by and --who; two of them fit into one line")
    key: str = Field(description="public key, as printed by openbook key")
    approve_up_to: float | None = Field(None, ge=0, le=LARGEST, description="USD of a batch; left out: no limit")
    may: tuple[Act, ...] = Field(description="empty: the key is retired")

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        try:
            line = require_line(name, "a name")
        except UsageError as error:
            raise ValueError(str(error)) from None
        if line != name:
            raise ValueError("a name must not begin or end with a space")
        return name

    @field_validator("key")
    @classmethod
    def _public(cls, key: str) -> str:
        if not is_public_key(key):
            raise ValueError("not a public key as printed by openbook key")
        return key


class Approvers(Settings):
    """The people who may sign on a desk; no two have the same name or key."""

    two_above: float | None = Field(None, ge=0, le=LARGEST, description="USD; left out: one person suffices")
    approvers: tuple[Approver, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [unicodedata.normalize("NFKC", person.name).casefold() for person in self.approvers]
        keys = [person.key for person in self.approvers]
        twice = [person.name for n, person in enumerate(self.approvers) if names[n] in names[:n] or keys[n] in keys[:n]]
        if twice:
            raise ValueError(f"the name or the key of {twice[0]} is there twice; each person has one of each")
        return self

    def require_listed(self, who: str, key: str) -> Approver:
        """The person of that name; ApprovalError (55) unless the person is listed, with this very key."""
        found = next((person for person in self.approvers if person.name == who), None)
        if found is None:
            raise ApprovalError(f"{who} is not listed in {FILE}; the desk must add the name and the public key")
        if found.key != key:
            raise ApprovalError(f"the key that signed as {who} is not the one listed for {who} in {FILE}")
        return found

    def require_may(self, who: str, key: str, act: Act) -> Approver:
        """The person of that name; ApprovalError (55) also unless the person may do this."""
        found = self.require_listed(who, key)
        if act not in found.may:
            raise ApprovalError(f"{who} may not {act}: {FILE} allows {', '.join(found.may) or 'nothing'}")
        return found

    def require_enough(self, signers: Iterable[tuple[str, str]], cents: int) -> None:
        """ApprovalError (55) unless these people together may approve a batch.

        signers : (name, public key) of each signature; cents : sum of |shares| × price of the batch, US cents
        """
        people = {person.name: person for person in (self.require_may(*signer, "approve") for signer in signers)}
        if not people:
            raise ApprovalError("nobody signed the batch")
        usd = f"{cents / 100:,.2f} USD"
        for person in people.values():
            if person.approve_up_to is not None and not cents <= round(person.approve_up_to * 100):
                raise ApprovalError(
                    f"the batch trades {usd}, and {person.name} may approve up to {person.approve_up_to:,.2f} USD; "
                    "somebody with a higher limit must sign it"
                )
        if self.two_above is not None and cents > round(self.two_above * 100) and len(people) < 2:
            raise ApprovalError(
                f"the batch trades {usd}, and above {self.two_above:,.2f} USD two different people sign; give both: "
                "openbook approve DATE --token FILE --token FILE"
            )


def approvers_file(runs: Path) -> Path | None:
    """Where the list of a desk is, or would be; None for runs without a desk. The desk is the one that the runs folder
    lies in, else that of the current folder."""
    desk = desk_folder.desk_of(runs.absolute()) or desk_folder.desk_or_none()
    return None if desk is None else desk / FILE


def read_approvers(runs: Path) -> Approvers | None:
    """The list of the desk; None if it has none.

    Raises ApprovalError (55) for a list that others can replace or write, and ParameterError (78) naming file and key
    for one that is wrong.
    """
    file = approvers_file(runs)
    if file is None or not os.path.lexists(file):
        return None
    require_outside(file, runs)
    mode, data = read_with_mode(file)
    if stat.S_IMODE(mode) & 0o022:
        raise ApprovalError(f"{file} can be written by others, who could list themselves; chmod go-w {file}")
    return parse_approvers(data, str(file))


def parse_approvers(data: bytes, where: str) -> Approvers:
    """The list that a YAML text spells; ParameterError (78) names the place and each key that is wrong."""
    try:
        return Approvers.model_validate_json(json.dumps(parse_yaml(data, where)), strict=True)
    except ValidationError as error:
        raise ParameterError(f"{where}: {in_words(error)}") from None


def require_approvers(runs: Path) -> Approvers:
    """The list of the desk; ApprovalError (55) if it has none."""
    found = read_approvers(runs)
    if found is None:
        file = approvers_file(runs)
        raise ApprovalError(
            f"signatures are checked with the public keys in {file or FILE}, which does not exist; write it as printed "
            "by openbook key"
        )
    return found


def lines_for_list(keys: Sequence[str]) -> list[str]:
    """The lines of `approvers.yaml` for some public keys, to be completed by the desk."""
    return ["approvers:", *(f"  - {{name: NAME, key: {key}, may: [approve]}}" for key in keys)]
