"""The modules without a test file at the mirrored path, and the test files that cover each.

Read by tests/layout/mirror.py. An entry goes when its module gets a mirroring test file.
"""

from __future__ import annotations

from typing import Final

COVERED_BY: Final[dict[str, tuple[str, ...]]] = {
    "consensus/state.py": ("tests/consensus/test_transition_table.py",),
    "consensus/messages.py": (
        "tests/consensus/test_transition_table.py",
        "tests/consensus/test_engine_votes.py",
    ),
    "consensus/round.py": ("tests/consensus/test_anything.py",),
    "consensus/settings.py": ("tests/consensus/test_anything.py",),
    "consensus/step_actions.py": ("tests/consensus/test_transition_table.py",),
    "ml/api/requests.py": ("tests/ml/api/test_app.py",),
    "ml/api/service.py": ("tests/node/serving/test_answer_service.py",),
    "ml/engine/interface.py": (
        "tests/ml/engine/test_builtin.py",
        "tests/ml/engine/test_transcript.py",
    ),
    "ml/attribution/drawn_answers.py": ("tests/ml/jobs/test_settling.py",),
    "ml/attribution/epoch_files.py": ("tests/ml/attribution/test_receipt_checks.py",),
    "ml/jobs/kinds.py": ("tests/ml/jobs/support/epoch_workshop.py",),
    "ml/base/characters.py": ("tests/ml/engine/test_transcript.py",),
    "ml/base/content.py": ("tests/ml/base/test_base.py",),
    "ml/train/checkpoint.py": ("tests/ml/train/test_loop.py",),
    "ml/train/curve.py": ("tests/ml/train/test_loop.py",),
    "node/chain/checked_signatures.py": ("tests/node/transactions/test_pool_forks.py",),
    "node/chain/errors.py": (
        "tests/node/chain/test_chain.py",
        "tests/node/chain/test_chain_forks.py",
    ),
    "node/chain/events.py": (
        "tests/node/chain/test_chain.py",
        "tests/node/chain/test_chain_forks.py",
    ),
    "node/client/__init__.py": ("tests/node/client/test_client.py",),
    "node/client/shares.py": ("tests/node/commands/datanet/test_claim.py",),
    "node/client/transport_http.py": ("tests/node/client/test_serving.py",),
    "node/jobs/step_sender.py": ("tests/node/jobs/test_executor.py",),
    "node/serving/epoch_progress.py": ("tests/node/serving/test_epoch_closer.py",),
    "node/serving/epoch_files.py": ("tests/node/serving/test_epoch_closer.py",),
    "node/commands/answers/verifying.py": ("tests/node/commands/answers/test_verify.py",),
    "node/commands/base/values.py": ("tests/node/commands/wallet/test_amounts.py",),
    "node/commands/chain/importing.py": ("tests/node/chain/test_justifications.py",),
    "node/commands/datanet/contribution.py": ("tests/node/commands/datanet/test_datanet.py",),
    "node/commands/executor/measuring.py": ("tests/node/commands/executor/test_executor.py",),
    "node/commands/staking/records.py": ("tests/node/commands/staking/test_stake.py",),
    "node/demo/contributors.py": ("tests/story/test_rows_become_payouts.py",),
    "node/demo/node_process.py": (
        "tests/clients/test_outside_clients.py",
        "tests/story/test_a_full_disk_halts_blocks_only.py",
    ),
    "node/demo/story.py": (
        "tests/cluster/test_the_story_on_a_cluster.py",
        "tests/story/test_rows_become_payouts.py",
    ),
    "node/devnet/cluster.py": (
        "tests/cluster/test_jobs_on_a_cluster.py",
        "tests/cluster/test_the_story_on_a_cluster.py",
    ),
    "node/devnet/control_client.py": ("tests/node/service/test_control_socket.py",),
    "node/devnet/errors.py": ("tests/node/service/test_control_socket.py",),
    "node/devnet/ledger.py": (
        "tests/cluster/test_equivocation.py",
        "tests/cluster/test_growth.py",
    ),
    "node/devnet/member.py": (
        "tests/cluster/test_devnet_commands.py",
        "tests/cluster/test_equivocation.py",
    ),
    "node/devnet/report.py": (
        "tests/cluster/test_hostile_peer.py",
        "tests/cluster/test_soak.py",
    ),
    "node/devnet/scenario.py": (
        "tests/cluster/test_growth.py",
        "tests/cluster/test_scenarios.py",
    ),
    "node/finality/block_bodies.py": ("tests/node/finality/test_engine_runner.py",),
    "node/rpc/errors.py": ("tests/node/rpc/test_storage_queries.py",),
    "node/rpc/interfaces.py": ("tests/node/rpc/test_follow.py",),
    "node/rpc/json_values.py": ("tests/node/rpc/namespaces/test_rpc_forks.py",),
    "node/rpc/limits.py": (
        "tests/node/rpc/namespaces/test_chain_head.py",
        "tests/node/rpc/namespaces/test_rpc_methods.py",
    ),
    "node/rpc/methods.py": ("tests/node/rpc/test_dispatcher.py",),
    "node/rpc/parameters.py": ("tests/node/rpc/test_dispatcher.py",),
    "node/rpc/session.py": (
        "tests/node/rpc/test_dispatcher.py",
        "tests/node/rpc/test_follow.py",
    ),
    "node/storage/blob_errors.py": ("tests/node/storage/test_blob_store.py",),
    "node/storage/errors.py": ("tests/node/storage/test_crash.py",),
    "node/storage/records.py": ("tests/node/storage/test_database.py",),
    "node/storage/state_layout.py": ("tests/node/storage/test_state_history.py",),
    "node/sync/epoch_archive.py": ("tests/node/sync/test_state_sync.py",),
    "node/transactions/entry.py": ("tests/node/transactions/test_queues.py",),
    "node/transactions/errors.py": (
        "tests/node/transactions/test_pool.py",
        "tests/node/transactions/test_pool_forks.py",
    ),
    "node/transactions/status.py": ("tests/node/transactions/test_pool_watchers.py",),
    "p2p/protocols/addresses.py": ("tests/p2p/protocols/test_address_book.py",),
    "p2p/protocols/blob_messages.py": ("tests/p2p/protocols/test_blob_download.py",),
    "p2p/service/peer_session.py": ("tests/p2p/service/test_peer_network.py",),
    "p2p/transport/libp2p_requests.py": ("tests/p2p/attacks/test_exhaustion.py",),
    "p2p/transport/libp2p_setup.py": ("tests/p2p/attacks/test_exhaustion.py",),
    "pallets/__init__.py": ("tests/node/commands/wallet/test_tx.py",),
    "pallets/attribution/records.py": ("tests/pallets/test_attribution.py",),
    "pallets/datanets/records.py": (
        "tests/pallets/test_datanets.py",
        "tests/pallets/test_datanets_machine.py",
    ),
    "pallets/jobs/assignment.py": ("tests/pallets/test_job_assignment.py",),
    "pallets/jobs/candidates.py": ("tests/pallets/test_job_candidates.py",),
    "pallets/jobs/parameters.py": (
        "tests/pallets/test_job_executors.py",
        "tests/pallets/test_job_work.py",
    ),
    "pallets/jobs/registry.py": (
        "tests/pallets/test_job_candidates.py",
        "tests/pallets/test_job_declines.py",
    ),
    "pallets/jobs/work.py": ("tests/pallets/test_job_work.py",),
    "pallets/jobs/job.py": (
        "tests/pallets/test_job_answers.py",
        "tests/pallets/test_job_executors.py",
    ),
    "pallets/jobs/lifecycle.py": ("tests/pallets/test_job_executors.py",),
    "pallets/jobs/recipe.py": ("tests/pallets/test_jobs.py",),
    "pallets/jobs/settlement.py": (
        "tests/pallets/test_job_answers.py",
        "tests/pallets/test_jobs.py",
    ),
    "pallets/offences/records.py": ("tests/pallets/test_offences.py",),
    "pallets/staking/eras.py": ("tests/pallets/test_staking_eras.py",),
    "pallets/staking/records.py": ("tests/pallets/test_staking.py",),
    "pallets/staking/rewards.py": ("tests/pallets/test_staking_rewards.py",),
    "pallets/weights.py": ("tests/pallets/test_staking.py",),
    "runtime/codec/compiler.py": ("tests/runtime/codec/test_scale.py",),
    "runtime/errors.py": ("tests/node/commands/base/test_exit_codes.py",),
    "runtime/frame/events.py": ("tests/runtime/frame/test_machine.py",),
    "runtime/metadata/frame_metadata.py": (
        "tests/runtime/metadata/test_apis.py",
        "tests/runtime/metadata/test_metadata.py",
    ),
    "runtime/metadata/interfaces.py": ("tests/runtime/metadata/test_apis.py",),
    "runtime/shared/finality.py": ("tests/node/chain/test_justifications.py",),
    "runtime/shared/leaders.py": ("tests/consensus/test_network.py",),
    "runtime/trie/trie_node.py": ("tests/runtime/trie/test_trie.py",),
}
"""Covered by test files that import the module themselves."""

REACHED_BY: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "The engine runs it: the tests give an engine of tests/consensus/support its events.": {
        "consensus/blocks.py": (
            "tests/consensus/test_engine_restart.py",
            "tests/consensus/test_engine_certificates.py",
        ),
        "consensus/catchup.py": ("tests/consensus/test_network.py",),
        "consensus/engine.py": (
            "tests/consensus/test_engine_certificates.py",
            "tests/consensus/test_engine_proposals.py",
            "tests/consensus/test_engine_restart.py",
            "tests/consensus/test_engine_views.py",
            "tests/consensus/test_engine_votes.py",
        ),
        "consensus/proposals.py": ("tests/consensus/test_engine_proposals.py",),
    },
    "The tests call the object of its room, or of the room above, that is built on it.": {
        "ml/api/responses.py": (
            "tests/ml/api/test_app.py",
            "tests/ml/api/test_openai_client.py",
        ),
        "ml/engine/batch.py": ("tests/ml/engine/test_builtin.py",),
        "node/chain/epochs.py": ("tests/node/authoring/test_proposer.py",),
        "node/chain/state_reader.py": ("tests/node/jobs/test_executor.py",),
        "node/finality/codec.py": ("tests/node/finality/test_engine_runner.py",),
        "node/finality/runner_context.py": ("tests/node/finality/test_engine_runner.py",),
        "node/rpc/blocks.py": ("tests/node/rpc/namespaces/test_chain_head.py",),
        "node/storage/staging.py": ("tests/node/storage/test_crash.py",),
        "p2p/service/settings.py": ("tests/p2p/service/test_service.py",),
        "p2p/transport/containment.py": ("tests/p2p/attacks/test_exhaustion.py",),
        "p2p/transport/libp2p_connection.py": (
            "tests/p2p/transport/test_libp2p_host.py",
            "tests/p2p/transport/test_transport.py",
        ),
    },
    "It runs in processes that the tests start.": {
        "ml/jobs/__main__.py": ("tests/ml/jobs/test_executor.py",),
        "node/commands/node/running.py": ("tests/test_cli.py",),
        "node/devnet/keeper.py": ("tests/cluster/test_devnet_commands.py",),
        "node/rpc/namespaces/consensus.py": ("tests/cluster/test_operator_mistakes.py",),
        "node/service/network_metrics.py": ("tests/cluster/test_hostile_peer.py",),
        "node/service/networking.py": ("tests/cluster/test_scenarios.py",),
        "node/service/service.py": ("tests/story/test_training_survives_kills.py",),
    },
    "The client that the tests call is made of it; node.client exports its names.": {
        "node/client/connection.py": ("tests/node/client/test_transport_websocket.py",),
        "node/client/errors.py": ("tests/node/client/test_client.py",),
        "node/client/remote_state.py": ("tests/node/client/test_queries.py",),
        "node/client/results.py": ("tests/node/client/test_client.py",),
        "node/client/sentences.py": ("tests/node/client/test_client.py",),
        "node/client/submission.py": ("tests/node/client/test_client.py",),
    },
    "The tests type the command, or those that are built on it.": {
        "node/commands/answers/ask.py": (
            "tests/story/test_asking_and_verifying.py",
            "tests/node/commands/model/test_model.py",
        ),
        "node/commands/answers/answer_documents.py": (
            "tests/node/commands/answers/test_asking.py",
        ),
        "node/commands/answers/receipt_pages.py": ("tests/node/commands/answers/test_asking.py",),
        "node/commands/answers/receipt.py": (
            "tests/node/commands/answers/test_asking.py",
            "tests/story/test_asking_and_verifying.py",
            "tests/node/commands/model/test_model.py",
        ),
        "node/commands/base/account_signer.py": ("tests/node/commands/wallet/test_account.py",),
        "node/commands/completion.py": ("tests/node/commands/chain/test_chain.py",),
        "node/commands/base/documents.py": ("tests/node/commands/test_catalogue.py",),
        "node/commands/base/lookup.py": (
            "tests/node/commands/model/test_model.py",
            "tests/node/commands/datanet/test_datanet.py",
        ),
        "node/commands/base/transaction.py": (
            "tests/node/commands/wallet/test_account.py",
            "tests/node/commands/wallet/test_tx.py",
        ),
        "node/commands/chain/status.py": ("tests/node/commands/chain/test_chain.py",),
        "node/commands/datanet/records.py": ("tests/node/commands/datanet/test_datanet.py",),
        "node/commands/devnet/devnet.py": ("tests/cluster/test_devnet_commands.py",),
        "node/commands/devnet/documents.py": ("tests/cluster/test_devnet_commands.py",),
        "node/commands/devnet/foreground.py": ("tests/cluster/test_devnet_commands.py",),
        "node/commands/executor/records.py": ("tests/node/commands/executor/test_executor.py",),
        "node/commands/model/records.py": ("tests/node/commands/model/test_model.py",),
        "node/commands/staking/session_key.py": ("tests/node/commands/staking/test_stake.py",),
        "node/commands/staking/validator_records.py": (
            "tests/node/commands/staking/test_validator.py",
        ),
        "node/commands/staking/validator_setup.py": (
            "tests/node/commands/staking/test_validator.py",
        ),
        "node/commands/staking/validator_start.py": (
            "tests/node/commands/staking/test_validator.py",
        ),
    },
    "The story that the tests run calls it.": {
        "node/demo/datanet.py": ("tests/story/test_rows_become_payouts.py",),
        "node/demo/payouts.py": ("tests/story/test_rows_become_payouts.py",),
        "node/demo/proof.py": ("tests/story/test_rows_become_payouts.py",),
        "node/demo/questions.py": ("tests/story/test_rows_become_payouts.py",),
        "node/demo/stage.py": ("tests/story/test_rows_become_payouts.py",),
        "node/demo/training.py": ("tests/story/test_rows_become_payouts.py",),
    },
    "The cluster that the tests call, or the command that they type, is built on it.": {
        "node/devnet/enrolment.py": ("tests/cluster/test_growth.py",),
        "node/devnet/heights.py": ("tests/cluster/test_lifecycle.py",),
        "node/devnet/snapshot.py": ("tests/cluster/test_devnet_commands.py",),
    },
    "The tests call its methods by their JSON-RPC names.": {
        "node/rpc/namespaces/author.py": (
            "tests/node/rpc/namespaces/test_subscriptions.py",
            "tests/node/rpc/namespaces/test_rpc_methods.py",
        ),
        "node/rpc/namespaces/chain.py": ("tests/node/rpc/namespaces/test_rpc_methods.py",),
        "node/rpc/namespaces/chain_spec.py": ("tests/node/rpc/namespaces/test_rpc_methods.py",),
        "node/rpc/namespaces/engine.py": ("tests/node/rpc/namespaces/test_rpc_methods.py",),
        "node/rpc/namespaces/payment.py": ("tests/node/rpc/namespaces/test_rpc_methods.py",),
        "node/rpc/namespaces/state.py": ("tests/node/rpc/namespaces/test_rpc_methods.py",),
        "node/rpc/namespaces/system.py": ("tests/node/rpc/namespaces/test_rpc_methods.py",),
        "node/rpc/namespaces/transaction.py": ("tests/node/rpc/namespaces/test_rpc_methods.py",),
    },
    "A part of the pallet whose calls, hooks and invariants the tests run.": {
        "pallets/attribution/errors.py": (
            "tests/pallets/test_attribution.py",
            "tests/pallets/attribution/test_epochs.py",
        ),
        "pallets/attribution/events.py": ("tests/pallets/test_attribution.py",),
        "pallets/datanets/call_weights.py": ("tests/pallets/test_datanets.py",),
        "pallets/datanets/curation.py": ("tests/pallets/test_datanets.py",),
        "pallets/datanets/errors.py": ("tests/pallets/test_datanets.py",),
        "pallets/datanets/invariants.py": ("tests/pallets/test_datanets.py",),
        "pallets/inference/errors.py": (
            "tests/pallets/test_inference.py",
            "tests/pallets/inference/test_redemption.py",
        ),
        "pallets/jobs/answers.py": ("tests/pallets/test_job_answers.py",),
        "pallets/jobs/errors.py": (
            "tests/pallets/test_jobs.py",
            "tests/pallets/test_job_answers.py",
        ),
        "pallets/jobs/events.py": (
            "tests/pallets/test_job_places.py",
            "tests/pallets/test_job_declines.py",
        ),
        "pallets/jobs/executors.py": ("tests/pallets/test_job_executors.py",),
        "pallets/jobs/submission.py": ("tests/pallets/test_jobs.py",),
        "pallets/staking/bonding.py": ("tests/pallets/test_staking.py",),
        "pallets/staking/election.py": ("tests/pallets/test_staking.py",),
        "pallets/staking/invariants.py": (
            "tests/pallets/test_staking.py",
            "tests/pallets/test_staking_machine.py",
        ),
        "pallets/staking/slashing.py": ("tests/pallets/test_offences.py",),
    },
    "Only Protocols: mypy checks them against the pallets that the tests compose.": {
        "pallets/datanets/required_pallets.py": ("tests/pallets/test_datanets.py",),
        "pallets/attribution/required_pallets.py": ("tests/pallets/test_attribution.py",),
        "pallets/inference/required_pallets.py": (
            "tests/pallets/test_inference.py",
            "tests/pallets/inference/test_channel_machine.py",
        ),
        "pallets/jobs/required_pallets.py": ("tests/pallets/test_jobs.py",),
        "pallets/models/required_pallets.py": (
            "tests/pallets/test_models.py",
            "tests/pallets/test_life_of_a_row.py",
        ),
        "pallets/offences/required_pallets.py": ("tests/pallets/test_offences.py",),
        "pallets/required_system.py": (
            "tests/pallets/test_system.py",
            "tests/pallets/test_jobs.py",
        ),
        "pallets/staking/required_pallets.py": ("tests/pallets/test_staking.py",),
        "runtime/frame/required_pallets.py": (
            "tests/runtime/frame/test_fees.py",
            "tests/runtime/frame/test_block.py",
        ),
    },
}
"""Covered by test files that do not import the module, by the reason why they need not."""
