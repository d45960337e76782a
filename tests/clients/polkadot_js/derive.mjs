// usage: node derive.mjs ws://HOST:PORT NOMINATOR
// Walks the derive calls behind the explorer, staking and session pages of polkadot.js Apps, and
// prints what they say as one JSON object on the last line.
import { ApiPromise, WsProvider } from '@polkadot/api';

const [url, nominator] = process.argv.slice(2);
const api = await ApiPromise.create({ provider: new WsProvider(url, 1000), noInitWarn: true, throwOnConnect: true });
const first = (subscribe) => new Promise((resolve, reject) => {
  let stop;
  subscribe((value) => { resolve(value); stop?.(); }).then((unsubscribe) => { stop = unsubscribe; }).catch(reject);
});
const text = (value) => value?.toString() ?? null;
const texts = (values) => values.map(text);
const walked = [];
const call = async (name, ...params) => {
  const derive = name.split('.').reduce((at, part) => at[part], api.derive);
  const answer = await derive(...params);
  walked.push(name);
  return answer;
};

// ------------------------------------------------------------------------------------ the explorer
const head = await first((callback) => api.derive.chain.subscribeNewHeads(callback));
const finalHead = await first((callback) => api.derive.chain.subscribeFinalizedHeads(callback));
const newBlock = await first((callback) => api.derive.chain.subscribeNewBlocks(callback));
walked.push('chain.subscribeNewHeads', 'chain.subscribeFinalizedHeads', 'chain.subscribeNewBlocks');
const best = await call('chain.bestNumber');
const finalized = await call('chain.bestNumberFinalized');
await call('chain.bestNumberLag');
const header = await call('chain.getHeader', finalHead.hash);
const block = await call('chain.getBlock', finalHead.hash);
const byNumber = await call('chain.getBlockByNumber', finalHead.number.toNumber());
const events = await call('tx.events', finalHead.hash);
// Every block of the chain so far, the first one and the last one of an epoch among them.
const authors = {};
for (let number = 1; number <= finalized.toNumber(); number += 1) {
  const hash = await api.rpc.chain.getBlockHash(number);
  authors[number] = text((await api.derive.chain.getHeader(hash)).author);
}
const balances = await call('balances.all', nominator);
await call('balances.account', nominator);
await call('accounts.info', nominator);

// ------------------------------------------------------------------------------------- the session
const indexes = await call('session.indexes');
const info = await call('session.info');
const progress = await call('session.progress');
await call('session.eraLength');
await call('session.eraProgress');
await call('session.sessionProgress');

// ------------------------------------------------------------------------------------- the staking
const validators = await call('staking.validators');
const overview = await call('staking.overview');
const flags = {
  withClaimedRewardsEras: true, withController: true, withDestination: true, withExposure: true,
  withExposureMeta: true, withLedger: true, withNominations: true, withPrefs: true
};
const elected = await call('staking.electedInfo', flags);
const waiting = await call('staking.waitingInfo', flags);
await call('staking.stashes');
const points = await call('staking.currentPoints');
const own = await call('staking.account', nominator);
const eras = await call('staking.erasHistoric', false);
const erasPoints = await call('staking.erasPoints', false);
const erasPrefs = await call('staking.erasPrefs', false);
const erasRewards = await call('staking.erasRewards', false);
const erasExposure = await call('staking.erasExposure', true);
await call('staking.erasSlashes', true);
await call('staking.eraExposure', indexes.activeEra);
await call('staking.eraPrefs', indexes.activeEra);
await call('staking.eraSlashes', indexes.activeEra);
// A chain of a solo author has no validators; the pages ask about an account all the same.
const validator = validators.validators[0] ?? nominator;
await call('staking.keys', validator);
await call('staking.keysMulti', validators.validators);
await call('staking.query', validator, flags);
await call('staking.queryMulti', validators.validators, flags);
await call('staking.ownExposure', validator, indexes.activeEra);
await call('staking.ownExposures', validator, true);
await call('staking.ownSlash', validator, indexes.activeEra);
await call('staking.ownSlashes', validator, true);
await call('staking.stakerExposure', nominator, true);
const stakerPoints = await call('staking.stakerPoints', validator, false);
await call('staking.stakerPrefs', validator, false);
await call('staking.stakerSlashes', nominator, true);
const rewards = await call('staking.stakerRewards', nominator, true);
const unclaimed = await call('staking.stakerRewards', nominator, false);
const keys = await call('staking.keys', validator);

const nominating = erasExposure.at(-1)?.nominators[nominator] ?? [];
console.log(JSON.stringify({
  walked,
  explorer: {
    best: best.toNumber(), finalized: finalized.toNumber(), headAuthor: text(head.author),
    headerAuthor: text(header.author), blockAuthor: text(block.author),
    newBlockAuthor: text(newBlock.author), byNumberAuthor: text(byNumber.author), events: events.events.length,
    authors, free: text(balances.freeBalance), reserved: text(balances.reservedBalance)
  },
  session: {
    currentIndex: indexes.currentIndex.toNumber(), activeEra: indexes.activeEra.toNumber(),
    activeEraStart: indexes.activeEraStart.isSome ? indexes.activeEraStart.unwrap().toNumber() : null,
    currentEra: indexes.currentEra.toNumber(), validatorCount: indexes.validatorCount.toNumber(),
    infoIndex: info.currentIndex.toNumber(), progressIndex: progress.currentIndex.toNumber()
  },
  staking: {
    validators: texts(validators.validators), nextElected: texts(validators.nextElected),
    overview: texts(overview.validators),
    elected: elected.info.map((entry) => ({
      account: text(entry.accountId), controller: text(entry.controllerId),
      commission: entry.validatorPrefs.commission.unwrap().toNumber(),
      active: text(entry.stakingLedger.active.unwrap()), total: text(entry.stakingLedger.total.unwrap()),
      exposed: text(entry.exposureMeta.unwrap().total.unwrap()), own: text(entry.exposureMeta.unwrap().own.unwrap()),
      nominators: entry.exposurePaged.unwrap().others.map(({ value, who }) => [text(who), text(value.unwrap())])
    })),
    waiting: texts(waiting.waiting),
    points: { total: points.total.toNumber(), individual: points.individual.size },
    own: {
      controller: text(own.controllerId), nominators: texts(own.nominators), active: text(own.stakingLedger.active.unwrap()),
      redeemable: text(own.redeemable), unlocking: (own.unlocking ?? []).map(({ remainingEras, value }) => [text(remainingEras), text(value)])
    },
    eras: eras.map((era) => era.toNumber()),
    erasPoints: erasPoints.map(({ eraPoints }) => text(eraPoints)),
    erasPrefs: erasPrefs.map(({ validators: all }) => Object.keys(all).length),
    erasRewards: erasRewards.map(({ eraReward }) => text(eraReward)),
    stakerPoints: stakerPoints.map(({ points: count }) => count.toNumber()),
    nominating: nominating.map(({ validatorId }) => validatorId),
    rewards: rewards.filter(({ nominating: some }) => some.length).length, unclaimed: unclaimed.filter(({ isClaimed }) => !isClaimed).length,
    sessionKeys: texts(keys.sessionIds), nextSessionKeys: texts(keys.nextSessionIds)
  }
}));
await api.disconnect();
process.exit(0);
