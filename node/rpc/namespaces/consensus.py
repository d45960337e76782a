"""openledger_consensus: the validators of a network, and the stake that finality still needs."""

from __future__ import annotations

from node.chain.chain import Chain
from node.finality.explanation import explain
from node.finality.participant import Participant
from node.finality.status import finality_status
from node.rpc.methods import method
from node.rpc.parameters import Json


class ConsensusNamespace:
    """The state of consensus at a node of a network."""

    def __init__(self, chain: Chain, participant: Participant) -> None:
        self._chain = chain
        self._participant = participant

    @method("openledger_consensus")
    def consensus(self) -> Json:
        """Return the epoch, the view, each validator's last vote, and why finality is where it is.

        Weights are planck of stake as decimal texts.
        """
        status = finality_status(self._chain, self._participant)
        return {
            "epoch": status.epoch,
            "view": status.view,
            "finalizedNumber": status.finalized_number,
            "finalizedSecondsAgo": status.finalized_seconds_ago,
            "isStanding": status.is_standing,
            "lastNumberOfEpoch": status.last_number_of_epoch,
            "totalWeight": str(status.total_weight),
            "heardWeight": str(status.active_weight),
            "neededWeight": str(status.needed_weight),
            "isVoting": status.is_voting,
            "isHalted": status.is_halted,
            "sentence": explain(self._participant, status),
            "validators": [
                {
                    "index": validator.index,
                    "account": validator.account,
                    "weight": str(validator.weight),
                    "isMe": validator.is_me,
                    "isSilent": validator.is_silent,
                    "isSkipping": validator.is_skipping,
                    "lastView": validator.last_view,
                    "heardSecondsAgo": validator.last_vote_seconds_ago,
                }
                for validator in status.validators
            ],
        }
