use super::*;

/// delta of the Gaussian mechanism with sensitivity `mu` standard deviations (Balle & Wang, 2018, theorem 8).
fn gaussian_delta(epsilon: f64, mu: f64) -> f64 {
    above(epsilon / mu - mu / 2.0) - epsilon.exp() * above(epsilon / mu + mu / 2.0)
}

/// delta of one sampled step: P - e^epsilon Q of the noise that the loss exceeds epsilon for.
fn one_step_delta(epsilon: f64, q: f64, sigma: f64, removed: bool) -> f64 {
    let step = Step::new(q, sigma, removed);
    let x = step.place(epsilon) / sigma;
    let (plain, mixed) = if removed {
        (above(x), (1.0 - q) * above(x) + q * above(x - 1.0 / sigma))
    } else {
        (
            above(-x),
            (1.0 - q) * above(-x) + q * above(1.0 / sigma - x),
        )
    };
    if removed {
        mixed - epsilon.exp() * plain
    } else {
        plain - epsilon.exp() * mixed
    }
}

/// The epsilon at which a falling `delta` is `target`.
fn solve(target: f64, delta: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e4);
    if delta(low) <= target {
        return 0.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        let value = delta(middle);
        if value > target {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[test]
fn without_subsampling_it_is_the_gaussian_mechanism() {
    for (sigma, steps) in [(0.5, 1), (2.0, 1), (1.0, 30), (40.0, 1000), (20.0, 100_000)] {
        for delta in [1e-3, 1e-5, 1e-9] {
            let mu = (steps as f64).sqrt() / sigma;
            let exact = solve(delta, |e| gaussian_delta(e, mu));
            let got = epsilon(steps, 1.0, sigma, delta).unwrap();
            let about =
                format!("sigma {sigma}, {steps} steps, delta {delta}: {got:?}, exact {exact}");
            assert!(got.lower <= exact && exact <= got.upper, "{about}");
            assert!((got.estimate - exact).abs() < 1e-4 * exact, "{about}");
            assert!(got.upper - got.lower < 0.02 * exact, "{about}");
        }
    }
}

#[test]
fn one_step_is_the_closed_form_of_the_worse_direction() {
    for (q, sigma) in [(1e-4, 0.5), (0.01, 1.0), (0.3, 0.7), (0.5, 8.0), (0.9, 3.0)] {
        for delta in [1e-3, 1e-5, 1e-7] {
            let exact = [true, false].map(|r| solve(delta, |e| one_step_delta(e, q, sigma, r)));
            let exact = exact[0].max(exact[1]);
            let got = epsilon(1, q, sigma, delta).unwrap();
            let about = format!("q {q}, sigma {sigma}, delta {delta}: {got:?}, exact {exact}");
            assert!(got.lower <= exact && exact <= got.upper, "{about}");
            assert!(
                (got.estimate - exact).abs() < 1e-3 * exact + 1e-9,
                "{about}"
            );
        }
    }
}

#[test]
fn the_rounded_loss_keeps_its_mean_and_its_mass() {
    for (q, sigma, removed) in [(0.01, 0.6, true), (0.3, 2.0, false), (1.0, 1.0, true)] {
        let step = Step::new(q, sigma, removed);
        let cells = Cells::new(&step, 1e-3);
        let mass: f64 = cells.ln_mass.iter().map(|m| m.exp()).sum();
        assert!((mass - 1.0).abs() < 1e-13, "{mass}");
        assert!((cells.mean - step.mean).abs() < 1e-3 / 2.0);
        for theta in [0.5, 3.0] {
            let (a, b) = (cells.cumulant(theta), step.cumulant(theta));
            assert!((a - b).abs() < theta * 1e-3, "{a} {b}");
        }
        // E e^-Y = 1 under P, whatever the mechanism.
        assert!(step.cumulant(-1.0).abs() < 1e-12, "{}", step.cumulant(-1.0));
    }
}

#[test]
fn loss_and_place_are_inverse() {
    for (q, sigma, removed) in [(1e-4, 0.5, true), (0.5, 8.0, false), (0.02, 0.05, true)] {
        let step = Step::new(q, sigma, removed);
        for part in [0.3, 0.5, 0.8, 0.99] {
            let x = step.cut[0] + part * (step.cut[1] - step.cut[0]);
            let y = step.loss(x);
            let back = step.loss(step.place(y));
            assert!(
                (back - y).abs() < 1e-12 * y.abs().max(1e-3),
                "{x} {y} {back}"
            );
        }
    }
}

#[test]
fn powers_on_the_circle() {
    // Two dice of four sides, and the sum wraps where the circle ends.
    let mut die = vec![0.25, 0.25, 0.25, 0.25, 0.0, 0.0];
    convolve(&mut die, 2).unwrap();
    let expected = [1.0, 2.0, 3.0, 4.0, 3.0, 2.0].map(|n| n / 16.0);
    // 6 wraps to 0.
    let expected = [
        expected[0] + 1.0 / 16.0,
        expected[1],
        expected[2],
        expected[3],
        expected[4],
        expected[5],
    ];
    for (a, b) in die.iter().zip(expected) {
        assert!((a - b).abs() < 1e-15, "{die:?}");
    }
}

#[test]
fn the_noise_for_an_epsilon_spends_it_and_not_more() {
    for (target, delta, steps, q) in [
        (1.0, 1e-5, 2000, 0.02),
        (8.0, 1e-3, 1800, 0.3),
        (0.1, 1e-6, 1, 0.01),
    ] {
        let sigma = noise_multiplier_for(target, delta, steps, q).unwrap();
        let spends = epsilon(steps, q, sigma, delta).unwrap();
        assert!(
            spends.upper <= target && spends.upper > 0.998 * target,
            "{spends:?} for {target}"
        );
        let by_rdp = super::super::rdp::noise_multiplier_for(target, delta, steps, q).unwrap();
        assert!(sigma < by_rdp, "{sigma} {by_rdp}");
    }
}

#[test]
fn what_cannot_be_computed_is_refused() {
    assert!(epsilon(1, 1.5, 1.0, 1e-5).is_err());
    assert!(epsilon(1, 0.5, 0.0, 1e-5).is_err());
    assert!(epsilon(1, 0.5, f64::NAN, 1e-5).is_err());
    assert!(epsilon(1, 0.5, 1.0, 0.0).is_err());
    let error = epsilon(1, 0.5, 1.0, 1e-13).unwrap_err();
    assert!(error.to_string().contains("RDP accountant"), "{error}");
    assert!(epsilon(20_000_000, 0.5, 1.0, 1e-5).is_err());
    assert!(noise_multiplier_for(f64::INFINITY, 1e-5, 10, 0.1).is_err());
    assert!(
        noise_multiplier_for(1e9, 1e-5, 10, 0.1).is_err(),
        "promises nothing"
    );
    assert!(noise_multiplier_for(1.0, 1e-5, 0, 0.1).is_err());
    assert_eq!(epsilon(0, 0.5, 1.0, 1e-5).unwrap().upper, 0.0);
    assert_eq!(epsilon(5, 0.0, 1.0, 1e-5).unwrap().upper, 0.0);
}
