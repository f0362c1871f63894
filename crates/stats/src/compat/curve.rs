//! The curves behind the rules: counts of true and false positives at falling thresholds.

use super::{CompatPoint, CompatRule};
use crate::error::StatsError;
use crate::roc::Roc;

/// Points of a ROC curve in ascending order. Exact curves start at the origin; a grid starts where the code's does.
pub(super) struct Curve {
    /// `(tp, fp)`.
    points: Vec<(usize, usize)>,
    positives: usize,
    negatives: usize,
}

impl Curve {
    /// Every distinct score a threshold, with the origin.
    pub fn exact(positives: &[f64], negatives: &[f64]) -> Result<Self, StatsError> {
        let roc = Roc::new(positives, negatives)?;
        let steps = roc.points().iter().map(|p| (p.tp, p.fp));
        Ok(Self {
            points: std::iter::once((0, 0)).chain(steps).collect(),
            positives: positives.len(),
            negatives: negatives.len(),
        })
    }

    /// "Member" is an error of at most `min + i (max - min) / cells`; the highest error is a threshold only with
    /// `to_the_end`. Lengths as `torch.arange` and `torch.range` count them.
    pub fn grid(
        rule: CompatRule,
        members: &[f64],
        nonmembers: &[f64],
        cells: usize,
        to_the_end: bool,
    ) -> Result<Self, StatsError> {
        let errors = |scores: &[f64]| {
            let mut sorted: Vec<f64> = scores.iter().map(|s| -s).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            sorted
        };
        let (members, nonmembers) = (errors(members), errors(nonmembers));
        let min = members[0].min(nonmembers[0]);
        let max = members[members.len() - 1].max(nonmembers[nonmembers.len() - 1]);
        let step = (max - min) / cells as f64;
        if !(step > 0.0 && step.is_finite()) {
            return Err(StatsError::NoGrid { rule: rule.name() });
        }
        let length = (max - min) / step;
        let thresholds = if to_the_end {
            length.floor() as usize + 1
        } else {
            length.ceil() as usize
        };
        let called = |sorted: &[f64], t: f64| sorted.partition_point(|&error| error <= t);
        let points = (0..thresholds)
            .map(|i| min + i as f64 * step)
            .map(|t| (called(&members, t), called(&nonmembers, t)))
            .collect();
        Ok(Self {
            points,
            positives: members.len(),
            negatives: nonmembers.len(),
        })
    }

    /// Drops the points whose steps before and after are equal, as scikit-learn's `roc_curve` does by default. Its
    /// origin is added after that: the first threshold always stays.
    pub fn without_intermediate(mut self) -> Self {
        let kept: Vec<_> = (0..self.points.len())
            .filter(|&i| {
                if i < 2 || i + 1 == self.points.len() {
                    return true;
                }
                let ((t0, f0), (t1, f1), (t2, f2)) =
                    (self.points[i - 1], self.points[i], self.points[i + 1]);
                (t1 - t0, f1 - f0) != (t2 - t1, f2 - f1)
            })
            .map(|i| self.points[i])
            .collect();
        self.points = kept;
        self
    }

    /// The upper convex hull, by Andrew's monotone chain.
    pub fn hull(mut self) -> Self {
        let mut hull: Vec<(usize, usize)> = Vec::new();
        for &point in &self.points {
            while let [.., a, b] = hull[..] {
                let across = |p: (usize, usize), q: (usize, usize)| {
                    (p.0 as i128 - a.0 as i128) * (q.1 as i128 - a.1 as i128)
                };
                // b is on or below the line from a to the new point.
                if across(b, point) > across(point, b) {
                    break;
                }
                hull.pop();
            }
            hull.push(point);
        }
        self.points = hull;
        self
    }

    fn tpr(&self, i: usize) -> f64 {
        self.points[i].0 as f64 / self.positives as f64
    }

    fn fpr(&self, i: usize) -> f64 {
        self.points[i].1 as f64 / self.negatives as f64
    }

    /// Trapezoids between the points there are; nothing is added at the ends.
    pub fn area(&self) -> f64 {
        let twice: u128 = self
            .points
            .windows(2)
            .map(|w| (w[1].1 - w[0].1) as u128 * (w[0].0 + w[1].0) as u128)
            .sum();
        twice as f64 / (2.0 * self.positives as f64 * self.negatives as f64)
    }

    /// Largest share of right calls over both sides together.
    pub fn accuracy(&self) -> f64 {
        let right = self.points.iter().map(|(tp, fp)| tp + self.negatives - fp);
        right.max().unwrap_or(0) as f64 / (self.positives + self.negatives) as f64
    }

    /// Largest (TPR + 1 - FPR) / 2.
    pub fn balanced_accuracy(&self) -> f64 {
        (0..self.points.len())
            .map(|i| (self.tpr(i) + 1.0 - self.fpr(i)) / 2.0)
            .fold(0.0, f64::max)
    }

    /// The TPR the rule takes, or `None` when its code takes none.
    pub fn point(&self, rule: CompatRule, target: f64) -> Option<CompatPoint> {
        let all = 0..self.points.len();
        let found = match rule {
            CompatRule::SecMiLdm => return None,
            CompatRule::JaxPrivacy => {
                return Some(CompatPoint {
                    target_fpr: target,
                    tpr: self.interpolated(target),
                    realised_fpr: target,
                });
            }
            CompatRule::SecMi => self.nearest(target, |i| {
                f64::from(self.points[i].1 as f32 / self.negatives as f32)
            }),
            CompatRule::PangWang => self.nearest(target, |i| self.fpr(i)),
            CompatRule::Pia | CompatRule::Wen => all.rev().find(|&i| self.fpr(i) < target),
            CompatRule::Clid => all.into_iter().find(|&i| self.fpr(i) >= target),
            // TPR only grows along the points: the last admissible one is the best.
            CompatRule::CopyMark | CompatRule::Midm => all.rev().find(|&i| self.fpr(i) <= target),
        };
        let (tpr, realised_fpr) = found.map_or((0.0, 0.0), |i| (self.tpr(i), self.fpr(i)));
        Some(CompatPoint {
            target_fpr: target,
            tpr,
            realised_fpr,
        })
    }

    /// The first of the points whose FPR is nearest to the target.
    fn nearest(&self, target: f64, fpr: impl Fn(usize) -> f64) -> Option<usize> {
        let distance = |&i: &usize| (fpr(i) - target).abs();
        (0..self.points.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// TPR on the straight line between the last point at or left of the target and the next one.
    fn interpolated(&self, target: f64) -> f64 {
        let wanted = target * self.negatives as f64;
        let right = self.points.partition_point(|p| p.1 as f64 <= wanted);
        let Some(&(tp, fp)) = self.points.get(right) else {
            return 1.0;
        };
        // The origin is on the left of every target.
        let (tp0, fp0) = self.points[right - 1];
        let share = (wanted - fp0 as f64) / (fp - fp0) as f64;
        (tp0 as f64 + share * (tp - tp0) as f64) / self.positives as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps: a member, then two non-members, two members, one non-member.
    fn curve() -> Curve {
        Curve::exact(&[6.0, 3.0, 2.0], &[5.0, 4.0, 1.0]).unwrap()
    }

    #[test]
    fn intermediate_points_by_hand() {
        let kept = curve().without_intermediate();
        assert_eq!(kept.points, [(0, 0), (1, 0), (1, 2), (3, 2), (3, 3)]);
        assert_eq!(kept.area(), curve().area());
        // Two points only: nothing to drop.
        let two = Curve::exact(&[1.0], &[0.0]).unwrap().without_intermediate();
        assert_eq!(two.points, [(0, 0), (1, 0), (1, 1)]);
    }

    #[test]
    fn the_hull_by_hand() {
        let hull = curve().hull();
        assert_eq!(hull.points, [(0, 0), (1, 0), (3, 2), (3, 3)]);
        assert_eq!(hull.interpolated(0.0), 1.0 / 3.0);
        assert_eq!(hull.interpolated(1.0 / 3.0), 2.0 / 3.0);
        assert_eq!(hull.interpolated(1.0), 1.0);
        assert!(hull.area() > curve().area());
        // All scores equal: the diagonal.
        let flat = Curve::exact(&[1.0; 2], &[1.0; 4]).unwrap().hull();
        assert_eq!((flat.area(), flat.interpolated(0.3)), (0.5, 0.3));
    }

    #[test]
    fn of_equally_near_rates_the_first_is_taken() {
        // 25 and 75 % are equally far from 50 %; at FPR 25 % the first point has TPR 0.
        let c = Curve::exact(&[3.0, 0.0], &[4.0, 2.0, 2.0, 1.0]).unwrap();
        let point = c.point(CompatRule::PangWang, 0.5).unwrap();
        assert_eq!((point.realised_fpr, point.tpr), (0.25, 0.0));
    }

    #[test]
    fn a_grid_by_hand() {
        // Errors of members 0 and 1, of non-members 2 and 4; thresholds 0, 1, 2, 3 and with the end 4.
        let grid = |end| Curve::grid(CompatRule::SecMi, &[0.0, -1.0], &[-2.0, -4.0], 4, end);
        let open = grid(false).unwrap();
        assert_eq!(open.points, [(1, 0), (2, 0), (2, 1), (2, 1)]);
        // The last non-member is never called: half of the area is missing.
        assert_eq!((open.area(), open.accuracy()), (0.5, 1.0));
        assert_eq!(grid(true).unwrap().area(), 1.0);
    }
}
