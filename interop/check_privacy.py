"""What DP-SGD spends, by Google's dp-accounting: python interop/check_privacy.py SIGMA,Q,STEPS,DELTA ...

Prints one epsilon for each setting: the privacy loss distribution of the Poisson-subsampled Gaussian by "connect the dots" (Doroshenko et
al., 2022), a pessimistic estimate, with a hundred thousand points of the mesh to the epsilon that Renyi divergences give.
Called by the test `needs_python` of crates/stats/tests/privacy.rs.
"""

import sys

from dp_accounting import rdp
from dp_accounting.dp_event import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import privacy_loss_distribution as pld

for setting in sys.argv[1:]:
    sigma, q, steps, delta = (float(part) for part in setting.split(","))
    steps = int(steps)
    accountant = rdp.RdpAccountant()
    accountant.compose(SelfComposedDpEvent(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), steps))
    loss = pld.from_gaussian_mechanism(
        sigma,
        sampling_prob=q,
        value_discretization_interval=accountant.get_epsilon(delta) * 1e-5,
        log_mass_truncation_bound=-60,
    )
    loss = loss.self_compose(steps, tail_mass_truncation=1e-14)
    print(float(loss.get_epsilon_for_delta(delta)))
