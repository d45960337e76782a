"""Why Datanets refuses a call: one class per cause, whose docstring is what a user reads."""

from __future__ import annotations

from runtime.frame.dispatch import Error


class DatanetsErrors:
    """The errors of Datanets, which inherits them. Indices are part of the encoding."""

    class UnknownDatanet(Error, index=0):
        """There is no datanet with this number; look it up in the list of datanets."""

    class NameTaken(Error, index=1):
        """Another datanet has this name (letter case aside); choose another one."""

    class InvalidName(Error, index=2):
        """A name has 3 to 64 letters, digits, blanks, dots, dashes or underscores and begins and
        ends with a letter or digit; correct it."""

    class MissingText(Error, index=3):
        """Summary, source, purpose and schema must not be empty; fill them in."""

    class TextTooLong(Error, index=4):
        """A text, or the list of tags, is longer than allowed; shorten it."""

    class UnknownLicence(Error, index=5):
        """This is no open licence; give an SPDX identifier such as MIT, or `LicenseRef-name`."""

    class LicenceFixed(Error, index=6):
        """Rows were contributed under the present licence; create another datanet for another."""

    class NotOwner(Error, index=7):
        """Only the owner of the datanet may do this; sign with the owner's key."""

    class NotCurator(Error, index=8):
        """Only the owner or a curator of the datanet may do this; ask the owner to add you."""

    class NoAccess(Error, index=9):
        """This datanet is not open to this account; request access or ask its owner."""

    class AccessNotNeeded(Error, index=10):
        """This account may read the datanet already; just go on."""

    class ByInvitation(Error, index=11):
        """This datanet is private and takes no requests; ask its owner to grant access."""

    class AlreadyRequested(Error, index=12):
        """Access was requested already; wait for the owner or a curator to decide."""

    class NothingToRevoke(Error, index=13):
        """This account has neither access by a grant nor a request to decline."""

    class TooManyCurators(Error, index=14):
        """The datanet has as many curators as it can have; remove one first."""

    class AlreadyCurator(Error, index=15):
        """This account is owner or curator already; just go on."""

    class UnknownCurator(Error, index=16):
        """This account is no curator of the datanet; look up its curators."""

    class EmptyBatch(Error, index=17):
        """A batch has at least one row and one byte; add rows."""

    class BatchTooLarge(Error, index=18):
        """A batch has too many rows or bytes; split it into several."""

    class DuplicateRow(Error, index=19):
        """A row is in the datanet already, or twice in the batch; drop it and contribute again."""

    class UnknownBatch(Error, index=20):
        """The datanet has no batch with this number; look it up in the list of batches."""

    class NotPending(Error, index=21):
        """The batch was reviewed or withdrawn already; nothing is left to decide."""

    class NotContributor(Error, index=22):
        """Only the account that contributed the batch may withdraw it."""

    class NothingNew(Error, index=23):
        """No batch was accepted since the last version; accept one before publishing."""

    class DatanetFull(Error, index=24):
        """The datanet has as many batches as it can have; open another datanet."""
