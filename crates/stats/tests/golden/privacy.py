"""Reference values of tests/privacy.rs, from Google's dp-accounting: python3 privacy.py privacy.json

The privacy loss distribution of the Poisson-subsampled Gaussian by "connect the dots" (Doroshenko et al., 2022), a pessimistic
estimate. There are a hundred thousand points of the mesh to epsilon, or eight times and eight times more where a mesh half as fine
moves epsilon by more than 0.25 % (`moved`, relative). dp-accounting 0.6.0 and numpy 2.4 wrote the file, in some minutes.
"""

import json
import sys

from dp_accounting import rdp
from dp_accounting.dp_event import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import privacy_loss_distribution as pld

DELTAS = [1e-3, 1e-5, 1e-7]


def by_rdp(sigma, q, steps):
    accountant = rdp.RdpAccountant(orders=[*range(2, 64), 128, 256, 512])
    event = GaussianDpEvent(sigma) if q == 1 else PoissonSampledDpEvent(q, GaussianDpEvent(sigma))
    accountant.compose(SelfComposedDpEvent(event, steps))
    return accountant.get_epsilon(1e-7)


def epsilons(sigma, q, steps, mesh):
    loss = pld.from_gaussian_mechanism(
        sigma, sampling_prob=q, value_discretization_interval=mesh, log_mass_truncation_bound=-60
    )
    if steps > 1:
        loss = loss.self_compose(steps, tail_mass_truncation=1e-14)
    return [float(loss.get_epsilon_for_delta(delta)) for delta in DELTAS]


rows = []
for steps in [1, 100, 10_000, 100_000]:
    for sigma in [0.5, 1.0, 8.0]:
        for q in [1e-4, 1e-2, 0.5]:
            mesh = by_rdp(sigma, q, steps) * 1e-5
            while True:
                fine, coarse = epsilons(sigma, q, steps, mesh), epsilons(sigma, q, steps, 2 * mesh)
                moved = [abs(e - c) / e if e else float(c != 0) for e, c in zip(fine, coarse)]
                # Judged where epsilon is largest: for the others a finer mesh would take too much memory.
                if moved[-1] < 2.5e-3:
                    break
                mesh /= 8
            for delta, e, m in zip(DELTAS, fine, moved):
                rows.append([sigma, q, steps, delta, float(f"{e:.8g}"), float(f"{m:.2g}")])
                print(rows[-1], f"mesh {mesh:.3g}", file=sys.stderr, flush=True)
with open(sys.argv[1], "w") as file:
    file.write("[\n" + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]\n")
