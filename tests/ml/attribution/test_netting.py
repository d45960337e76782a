"""Integrity: who earns when some contributors bring noise, poison or copies.

A logistic model with exact influence (psi = inverse Hessian times gradient). Eight honest
contributors, one whose labels are random and one whose labels are reversed, 60 rows each. Answers
are the model's likelier label (greedy), labels drawn from the model (sampled), or held-out rows
with true labels (verified targets).
The truth is the held-out loss after training without the contributor.
"""

import numpy as np
import pytest

from runtime.shared.documents import ContributorAggregate
from runtime.shared.shares import payout
from runtime.types.primitives import AccountId
from tests.ml.attribution.support.scoring import net_scores

HONEST, ROWS, DIMENSIONS, ANSWERS = 8, 60, 16, 400
NOISE, POISON = HONEST, HONEST + 1
POOL = 10**9
SEEDS = range(6)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def trained(inputs, labels):
    weights = np.zeros(DIMENSIONS)
    for _ in range(20):
        likely = sigmoid(inputs @ weights)
        gradient = inputs.T @ (likely - labels) / len(inputs) + 0.01 * weights
        curvature = (inputs * (likely * (1 - likely))[:, None]).T @ inputs / len(inputs)
        curvature += 0.01 * np.eye(DIMENSIONS)
        weights -= np.linalg.solve(curvature, gradient)
    return weights, curvature


class World:
    """Rows, their owners, a trained model and the sketches of rows and answers."""

    def __init__(self, seed, copies=0, clustered=False):
        self.draws = np.random.default_rng(seed)
        self.truth = self.draws.normal(size=DIMENSIONS) * 1.5
        self.owners = np.repeat(np.arange(HONEST + 2), ROWS)
        self.inputs, self.labels = self.rows(len(self.owners))
        noise, poison = self.owners == NOISE, self.owners == POISON
        self.labels[noise] = self.draws.random(ROWS) < 0.5
        self.labels[poison] = self.inputs[poison] @ self.truth < 0
        if copies and not clustered:
            mine = np.repeat(np.flatnonzero(self.owners == 0), copies)
            self.inputs = np.concatenate([self.inputs, self.inputs[mine]])
            self.labels = np.concatenate([self.labels, self.labels[mine]])
            self.owners = np.concatenate([self.owners, self.owners[mine]])
        self.weights, curvature = trained(self.inputs, self.labels)
        self.root = np.linalg.cholesky(np.linalg.inv(curvature))
        gradients = self.gradients(self.inputs, self.labels)
        self.scale = 100 / np.quantile(np.abs(gradients), 0.999)
        self.psi = self.rounded(gradients)

    def rows(self, count):
        inputs = self.draws.normal(size=(count, DIMENSIONS))
        labels = (self.draws.random(count) < sigmoid(inputs @ self.truth)).astype(float)
        return inputs, labels

    def gradients(self, inputs, labels):
        return (sigmoid(inputs @ self.weights) - labels)[:, None] * inputs @ self.root

    def rounded(self, gradients):
        return np.clip(np.rint(gradients * self.scale), -127, 127).astype(np.int64)

    def answers(self, kind):
        inputs, labels = self.rows(ANSWERS)
        if kind == "greedy":
            labels = (inputs @ self.weights > 0).astype(float)
        elif kind == "sampled":
            labels = (self.draws.random(ANSWERS) < sigmoid(inputs @ self.weights)).astype(float)
        return self.rounded(self.gradients(inputs, labels))

    def netted(self, answers, z_milli):
        aggregates = [
            ContributorAggregate(
                AccountId(bytes([owner]) * 32),
                ROWS,
                tuple(self.psi[self.owners == owner].sum(axis=0).tolist()),
            )
            for owner in range(HONEST + 2)
        ]
        sketches = [answer.astype(np.int8).tobytes() for answer in answers]
        entries = net_scores(aggregates, sketches, [10**15] * len(answers))
        earned, commons = payout(POOL, entries, z_milli)
        return np.array(earned) / POOL, commons / POOL

    def clipped_per_row(self, answers):
        """The rule that every positive score of every row earns."""
        positive = np.maximum(self.psi @ answers.T, 0).sum(axis=1)
        shares = np.bincount(self.owners, positive)
        return shares / shares.sum()

    def loss_without(self):
        inputs, labels = self.rows(3000)

        def loss(keep):
            likely = sigmoid(inputs @ trained(self.inputs[keep], self.labels[keep])[0])
            return -np.mean(np.where(labels > 0, np.log(likely), np.log(1 - likely)))

        return np.array([loss(self.owners != owner) for owner in range(HONEST + 2)])


def rank_correlation(left, right):
    ranks = [np.argsort(np.argsort(values)) for values in (left, right)]
    return np.corrcoef(*ranks)[0, 1]


@pytest.mark.parametrize("kind", ["greedy", "verified"])
@pytest.mark.parametrize("z_milli", [0, 1000])
def test_netting_per_contributor_pays_noise_and_poison_nothing(kind, z_milli):
    worlds = [World(seed) for seed in SEEDS]
    paid = [world.netted(world.answers(kind), z_milli) for world in worlds]
    shares = np.mean([earned for earned, _ in paid], axis=0)
    assert shares[NOISE] < 0.01
    assert shares[POISON] < 0.001
    assert shares[:HONEST].min() > 0.08
    assert np.mean([commons for _, commons in paid]) < (0.2 if z_milli else 0.01)


@pytest.mark.parametrize("kind", ["greedy", "verified"])
def test_paying_each_positive_row_score_pays_the_poisoner_most(kind):
    worlds = [World(seed) for seed in SEEDS]
    shares = np.mean([world.clipped_per_row(world.answers(kind)) for world in worlds], axis=0)
    assert np.argmax(shares) == POISON
    assert shares[POISON] > 1.5 * shares[:HONEST].mean()
    assert shares[NOISE] > shares[:HONEST].mean()


def test_sampled_answers_carry_no_signal_and_the_bound_withholds_their_pay():
    # The expected gradient of an answer drawn from the model itself is zero: its net is chance.
    paid = [world.netted(world.answers("sampled"), 1000) for world in map(World, SEEDS)]
    assert np.mean([commons for _, commons in paid]) > 0.6
    assert np.mean([earned for earned, _ in paid], axis=0)[:HONEST].max() < 0.1


def test_netting_agrees_with_retraining_and_the_row_rule_contradicts_it():
    agreement = []
    for seed in SEEDS:
        world = World(seed)
        answers, truth = world.answers("verified"), world.loss_without()
        earned, _ = world.netted(answers, 0)
        agreement.append(
            [
                rank_correlation(earned, truth),
                rank_correlation(world.clipped_per_row(answers), truth),
            ]
        )
    netted, clipped = np.mean(agreement, axis=0)
    assert netted > 0.6
    assert clipped < 0


def test_copying_ones_own_rows_gains_nothing_when_copies_are_clustered():
    plain, copied, clustered = (
        np.mean(
            [world.netted(world.answers("verified"), 0)[0][0] for world in worlds],
        )
        for worlds in (
            [World(seed) for seed in SEEDS],
            [World(seed, copies=16) for seed in SEEDS],
            [World(seed, copies=16, clustered=True) for seed in SEEDS],
        )
    )
    assert copied > 2 * plain
    assert clustered == plain
