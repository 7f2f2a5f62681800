"""What ``mainspring doctor`` says of keys: which are in use, how old, what is under others yet."""

from collections.abc import Callable, Collection

from mainspring.cli.checks import Check, Verdict
from mainspring.kernel.clock import rfc3339
from mainspring.kernel.errors import Failure
from mainspring.ports.database import Database, StartError
from mainspring.ports.keyring import Keyring
from mainspring.ports.kms import Kms
from mainspring.ports.listeners import described
from mainspring.runtime.data_keys import ALL_DATA_KEYS, DATA_KEYS_MIGRATION, DataKeyRow
from mainspring.runtime.keyring_kms import KeyringKms
from mainspring.runtime.resealing import ALL_RESEALED, PASSES, ResealedRow, generation_name

NAME = "sealed values"


async def check_sealed(database: Database, keyring: Keyring, kms: Collection[str] = ()) -> Check:
    """What is stored sealed is under the newest data keys, and those under the current key.

    ``kms`` are the schemes of those that the settings name.
    """
    try:
        await keyring.open(create=False)
        await database.open()
        try:
            if DATA_KEYS_MIGRATION not in await database.applied():
                return Check(
                    NAME, Verdict.OK, "there are no data keys yet: the next start has them"
                )
            resealed = await database.read(ALL_RESEALED, ())
            data_keys = await database.read(ALL_DATA_KEYS, ())
        finally:
            await database.close()
    except (StartError, Failure) as error:
        return Check(NAME, Verdict.WARN, f"cannot be looked at: {described(error)}")
    opened = {KeyringKms.scheme, *kms}
    shut = sorted({k.wrapped_by for k in data_keys if k.wrapped_by.partition(":")[0] not in opened})
    if shut:
        return Check(
            NAME, Verdict.FAIL, f"what wraps data keys is named by no setting: {', '.join(shut)}",
            "name it as [keyring] kms, or as former_kms: what it wrapped cannot be opened",
        )  # fmt: skip
    return _sealed(resealed, data_keys, (await KeyringKms(keyring).describe()).name)


async def check_kms(open_kms: Callable[[], Kms]) -> Check:
    """The key that wraps data keys is there and may be used."""
    try:
        kms = open_kms()
        await kms.open()
        try:
            found = await kms.describe()
        finally:
            await kms.close()
    except StartError as error:
        return Check("kms", Verdict.FAIL, str(error))
    except Failure as error:
        said = kms.away() or described(error)
        return Check("kms", Verdict.WARN, f"cannot be asked: {said}")
    if found.why:
        return Check("kms", Verdict.FAIL, f"{found.name}: {found.why}")
    return Check("kms", Verdict.OK, f"{found.name} wraps data keys")


def _sealed(resealed: list[ResealedRow], data_keys: list[DataKeyRow], root: str) -> Check:
    newest: dict[str, DataKeyRow] = {}
    for row in sorted(data_keys, key=lambda row: row.generation):
        newest[row.purpose] = row
    names = {p: generation_name(p, row.generation) for p, row in newest.items()}
    behind = [row.name for row in resealed if not _is_newest(row.key_id, names)]
    once = [row.name for row in resealed if row.passes < PASSES]
    wrapped = sorted({row.wrapped_by for row in data_keys})
    oldest = min((row.created_ms for row in newest.values()), default=None)
    made = "" if oldest is None else f", those in use made since {rfc3339(oldest)[:10]}"
    by = "" if not wrapped else f", wrapped by {', '.join(wrapped)}"
    found = f"{len(data_keys)} data keys{made}{by}"
    if behind:
        return Check(
            NAME, Verdict.WARN, f"{found}; {', '.join(behind)}: not all of it is under the newest",
            "a process that works seals it anew once it was started again: look for jobs named "
            "runtime.reseal",
        )  # fmt: skip
    if any(by.startswith(f"{KeyringKms.scheme}:") and by != root for by in wrapped):
        return Check(
            NAME, Verdict.WARN, f"{found}; the keyring's newest key is {root}",
            "a process that works wraps them anew once it was started again: look for a job named "
            "runtime.rewrap",
        )  # fmt: skip
    if once:
        found = f"{found}; values are looked at once more a day after they were sealed anew"
    return Check(NAME, Verdict.OK, found)


def _is_newest(noted: str, names: dict[str, str]) -> bool:
    """Tell whether a column was noted as being all under the newest generation of its purpose."""
    purpose = noted.rpartition(" ")[0]
    return bool(purpose) and noted == names.get(purpose, generation_name(purpose, 1))
