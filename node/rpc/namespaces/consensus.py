"""openledger_consensus: who decides the blocks of a network, and what finality lacks."""

from __future__ import annotations

from node.chain.chain import Chain
from node.finality.participant import Participant
from node.finality.status import explain
from node.rpc.methods import method
from node.rpc.parameters import Json


class ConsensusNamespace:
    """What a node of a network says about consensus."""

    def __init__(self, chain: Chain, participant: Participant) -> None:
        self._chain = chain
        self._participant = participant

    @method("openledger_consensus")
    def consensus(self) -> Json:
        """Tell the epoch, the view, each validator's last vote, and why finality is where it is.

        Weights are planck of stake as decimal texts.
        """
        told = explain(self._chain, self._participant)
        return {
            "epoch": told.epoch,
            "view": told.view,
            "finalizedNumber": told.finalized_number,
            "lastNumberOfEpoch": told.last_number_of_epoch,
            "totalWeight": str(told.total_weight),
            "heardWeight": str(told.heard_weight),
            "neededWeight": str(told.needed_weight),
            "isVoting": told.is_voting,
            "isHalted": told.halted,
            "sentence": told.sentence,
            "validators": [
                {
                    "index": one.index,
                    "account": one.account,
                    "weight": str(one.weight),
                    "isMe": one.is_me,
                    "isSilent": one.is_silent,
                    "lastView": one.last_view,
                    "heardSecondsAgo": one.heard_seconds_ago,
                }
                for one in told.validators
            ],
        }
