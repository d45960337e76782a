"""The interface described for machines: parameters and results of every method, as OpenRPC.

A method's parameters are described from its declaration, its result by RESULTS. `rpc.discover`
answers the document, and the tests hold every answer against it.

Sources: OpenRPC 1.3.2 (https://spec.open-rpc.org), for the shapes sc-rpc-api and
https://paritytech.github.io/json-rpc-interface-spec/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from node.rpc.json_schema import (
    COUNT,
    DECIMAL,
    HASH,
    HEX,
    HEX_NUMBER,
    NULL,
    OBJECT,
    SIGNED,
    SUBSCRIPTION,
    TEXT,
    TRUTH,
    Schema,
    constant,
    list_of,
    nullable,
    one_of,
    record,
)
from node.rpc.methods import Method
from node.rpc.parameters import Json

OPEN_RPC_VERSION: Final = "1.3.2"

PAIR_OF_KEY_AND_VALUE: Final[Schema] = {
    "type": "array",
    "prefixItems": [HEX, nullable(HEX)],
    "minItems": 2,
    "maxItems": 2,
}
CHANGE_SET: Final = record(block=HASH, changes=list_of(PAIR_OF_KEY_AND_VALUE))
HEADER: Final = record(
    parentHash=HASH,
    number=HEX_NUMBER,
    stateRoot=HASH,
    extrinsicsRoot=HASH,
    digest=record(logs=list_of(HEX)),
)
BLOCK: Final = record(
    block=record(header=HEADER, extrinsics=list_of(HEX)),
    justifications=nullable(list_of(list_of(list_of(COUNT)))),
)
RUNTIME_VERSION: Final = record(
    specName=TEXT,
    implName=TEXT,
    authoringVersion=COUNT,
    specVersion=COUNT,
    implVersion=COUNT,
    apis=list_of({"type": "array", "prefixItems": [HEX, COUNT], "minItems": 2, "maxItems": 2}),
    transactionVersion=COUNT,
    stateVersion=COUNT,
)
DISPATCH_INFO: Final = record(
    **{
        "weight": record(ref_time=COUNT, proof_size=COUNT),
        "class": {"enum": ["normal", "operational", "mandatory"]},
        "partialFee": DECIMAL,
    }
)
FEE_DETAILS: Final = record(
    inclusionFee=nullable(
        record(baseFee=HEX_NUMBER, lenFee=HEX_NUMBER, adjustedWeightFee=HEX_NUMBER)
    )
)
LIMIT_REACHED: Final = record(result=constant("limitReached"))
STARTED: Final = record({"discardedItems": COUNT}, result=constant("started"), operationId=TEXT)
OPERATION: Final = one_of(STARTED, LIMIT_REACHED)
PEER: Final = record(peerId=TEXT, roles=TEXT, bestHash=HASH, bestNumber=COUNT)
SEALED: Final = record(
    hash=HASH,
    aux=record(
        headerOnly=TRUTH,
        clearJustificationRequests=TRUTH,
        needsJustification=TRUTH,
        badJustification=TRUTH,
        isNewBest=TRUTH,
    ),
)
JOB_REPORT: Final = record(
    step=COUNT, steps=COUNT, lossMicronats=nullable(SIGNED), heldOutMicronats=nullable(SIGNED)
)

RESULTS: Final[Mapping[str, Schema]] = {
    "rpc.discover": OBJECT,
    "rpc_methods": record(methods=list_of(TEXT), version=COUNT),
    # system
    "system_name": TEXT,
    "system_version": TEXT,
    "system_chain": TEXT,
    "system_chainType": {"enum": ["Development", "Local", "Live"]},
    "system_properties": OBJECT,
    "system_health": record(peers=COUNT, isSyncing=TRUTH, shouldHavePeers=TRUTH),
    "system_peers": list_of(PEER),
    "system_nodeRoles": list_of(TEXT),
    "system_localPeerId": TEXT,
    "system_localListenAddresses": list_of(TEXT),
    "system_syncState": record(startingBlock=COUNT, currentBlock=COUNT, highestBlock=COUNT),
    "system_accountNextIndex": COUNT,
    "system_dryRun": HEX,
    # chain
    "chain_getHeader": nullable(HEADER),
    "chain_getBlock": nullable(BLOCK),
    "chain_getBlockHash": one_of(nullable(HASH), list_of(nullable(HASH))),
    "chain_getFinalizedHead": HASH,
    # state
    "state_getMetadata": HEX,
    "state_getRuntimeVersion": RUNTIME_VERSION,
    "state_call": HEX,
    "state_getStorage": nullable(HEX),
    "state_getStorageHash": nullable(HASH),
    "state_getStorageSize": nullable(COUNT),
    "state_getKeys": list_of(HEX),
    "state_getKeysPaged": list_of(HEX),
    "state_queryStorage": list_of(CHANGE_SET),
    "state_queryStorageAt": list_of(CHANGE_SET),
    "state_getReadProof": record(at=HASH, proof=list_of(HEX)),
    # author, payment, engine
    "author_submitExtrinsic": HASH,
    "author_pendingExtrinsics": list_of(HEX),
    "author_removeExtrinsic": list_of(HASH),
    "author_hasKey": TRUTH,
    "author_insertKey": NULL,
    "author_rotateKeys": HEX,
    "payment_queryInfo": DISPATCH_INFO,
    "payment_queryFeeDetails": FEE_DETAILS,
    "engine_createBlock": SEALED,
    "engine_finalizeBlock": TRUTH,
    # the JSON-RPC interface specification
    "chainSpec_v1_chainName": TEXT,
    "chainSpec_v1_genesisHash": HASH,
    "chainSpec_v1_properties": OBJECT,
    "chainHead_v1_follow": SUBSCRIPTION,
    "chainHead_v1_unfollow": NULL,
    "chainHead_v1_header": nullable(HEX),
    "chainHead_v1_body": OPERATION,
    "chainHead_v1_call": OPERATION,
    "chainHead_v1_storage": OPERATION,
    "chainHead_v1_unpin": NULL,
    "chainHead_v1_continue": NULL,
    "chainHead_v1_stopOperation": NULL,
    "archive_v1_genesisHash": HASH,
    "archive_v1_finalizedHeight": COUNT,
    "archive_v1_hashByHeight": list_of(HASH),
    "archive_v1_header": nullable(HEX),
    "archive_v1_body": nullable(list_of(HEX)),
    "archive_v1_call": nullable(
        one_of(
            record(success={"const": True}, value=HEX),
            record(success={"const": False}, error=TEXT),
        )
    ),
    "archive_v1_storage": SUBSCRIPTION,
    "archive_v1_stopStorage": NULL,
    "archive_v1_storageDiff": SUBSCRIPTION,
    "archive_v1_stopStorageDiff": NULL,
    "transactionWatch_v1_submitAndWatch": SUBSCRIPTION,
    "transactionWatch_v1_unwatch": NULL,
    "transaction_v1_broadcast": nullable(SUBSCRIPTION),
    "transaction_v1_stop": NULL,
    # this node's own
    "openledger_status": OBJECT,
    "openledger_health": record(isReady=TRUTH, problems=list_of(record(kind=TEXT, sentence=TEXT))),
    "openledger_network": OBJECT,
    "openledger_jobProgress": list_of(JOB_REPORT),
    "openledger_closeEpoch": COUNT,
    "openledger_settlements": list_of(
        record(model=COUNT, epoch=COUNT, state=TEXT, reason=nullable(TEXT))
    ),
    "openledger_receipts": list_of(record(hash=HASH, signedReceipt=HEX)),
    "openledger_consensus": OBJECT,
}
"""The shape of each method's result, by the first of its names; those that subscribe and
unsubscribe in the manner of Substrate are told apart by `result_of`."""


def result_of(method: Method) -> Schema:
    """Return the schema of a method's result. Raises KeyError for one that is not described."""
    name = method.names[0]
    schema = RESULTS.get(name)
    if schema is not None:
        return schema
    verb = name.partition("_")[2]
    if verb.startswith(("unsubscribe", "unwatch")):
        return TRUTH
    if verb.startswith(("subscribe", "submitAndWatch")):
        return SUBSCRIPTION
    raise KeyError(name)


def open_rpc(methods: Iterable[Method], title: str, version: str) -> dict[str, Json]:
    """Return the OpenRPC document of these methods."""
    return {
        "openrpc": OPEN_RPC_VERSION,
        "info": {"title": title, "version": version},
        "methods": [
            {
                "name": method.name,
                "description": method.description,
                "paramStructure": "either",
                "params": [
                    {
                        "name": parameter.json_name,
                        "required": parameter.is_required,
                        "schema": parameter.schema,
                    }
                    for parameter in method.parameters
                ],
                "result": {"name": "result", "schema": result_of(method)},
            }
            for method in methods
        ],
    }
