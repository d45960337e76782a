from __future__ import annotations
import sys, time, traceback
from collections import Counter
from tests.simulation.signing import cheap_signatures
from tests.simulation.simulate import simulate
from tests.simulation.oracle import Violation

a, b = int(sys.argv[1]), int(sys.argv[2])
c = Counter()
t = time.process_time()
bad = Counter()
steps = 0
heal = []
with cheap_signatures():
    for s in range(a, b):
        try:
            o = simulate(s)
            c += o.counts
            steps += o.steps
            heal.append(o.healing_ms)
        except Violation as e:
            bad[e.invariant] += 1
            print(s, str(e)[:300])
        except Exception as e:
            bad["error"] += 1
            print(s, "ERROR")
            traceback.print_exc(limit=-4)
            if bad["error"] > 3:
                break
dt = time.process_time() - t
print(bad, c, (b - a) / dt, "seeds/s", steps / (b - a), max(heal, default=0))
